@selftest
Feature: Quantised files
  llama.cpp's tool quantised a small model in several ways; llama.cpp's run of each file is kept. Candle computes with the blocks
  as they are. It is held against llama.cpp on the same file, against the f32 original, and each step against what its own
  inputs make with the dequantised weights: signal to noise, in decibels, in the matrix.

  @case:parity/quantised/file @LL-S-022 @must
  Scenario Outline: <file>
    Then candle reads the quantised file "<file>" as llama.cpp does, and keeps what its original says

    Examples:
      | file         |
      | qwen2.Q8_0   |
      | qwen2.Q6_K   |
      | qwen2.Q5_K_M |
      | qwen2.Q5_0   |
      | qwen2.Q4_K_M |
      | qwen2.Q4_0   |
      | qwen2.Q3_K_M |
      | qwen2.Q2_K   |
      | llama.Q8_0   |
      | llama.Q4_K_M |

  @case:parity/quantised/caught @LL-S-022 @must
  Scenario: A reader who takes each block's scale from its neighbour
    Then a wrong reader of the quantised file "qwen2.Q8_0" is caught
