@built-in
Feature: Model files
  The same numbers give the same text, however they are stored. A file that means harm is refused by name and reason.

  @case:model/files/1 @LL-M-001 @ours
  Scenario Outline: The same numbers in another form: <key>
    Given a recipe model stored as "<form>", and the same numbers stored plainly
    When each is asked for the same texts
    Then both wrote the same, token by token

    Examples:
      | key                   | form                            |
      | gguf                  | GGUF                            |
      | prefixed              | prefixed                        |
      | sharded               | sharded                         |
      | head-repeated         | head-repeated                   |
      | f16                   | F16                             |
      | bf16                  | BF16                            |
      | f16-prefixed-sharded  | F16 prefixed sharded            |
      | bf16-everything       | BF16 prefixed sharded head-repeated |

  @case:model/files/2 @LL-M-002 @ours @fresh
  Scenario Outline: A file that means harm ends the worker, which says why: <key>
    When the worker is started on the hostile file "<file>"
    Then the worker exits with code 1 within 20 seconds
    And its output mentions "<file>"
    And its output mentions "MODEL_LOAD_FAILED"
    And its output mentions "<reason>"

    Examples:
      | key                 | file                                     | reason                               |
      | offsets-wrap        | safetensors/offsets-wrap.safetensors     | needs 16 bytes                       |
      | overlap             | safetensors/overlap.safetensors          | tensor `wpe.weight` begins at byte   |
      | truncated           | safetensors/truncated-in-data.safetensors | but the file has                    |
      | missing-tensor      | safetensors/missing-c_attn.safetensors   | needs tensor `h.0.attn.c_attn.bias`  |
      | not-a-number        | safetensors/nan.safetensors              | holds NaN at index 17                |
      | not-gguf            | gguf/magic.gguf                          | does not begin with `GGUF`           |
      | alignment           | gguf/alignment-3.gguf                    | alignment 3 is not a power of two    |
      | architecture        | gguf/architecture-other.gguf             | architecture `mamba`                 |
      | tebibyte-string     | gguf/string-length-tebibyte.gguf         | 1099511627776                        |
      | product-wraps       | gguf/product-wraps.gguf                  | does not fit in 64 bits              |
      | tensors-huge        | gguf/tensors-huge.gguf                   | the number of tensors is             |

  @case:model/files/3 @LL-M-003 @ours @fresh
  Scenario Outline: What is held is what was written, by the digest that another language gave: <key>
    Given a worker on the recipe model "<size>" with seed <seed>, told to log its digest
    Then the digest it logs is the one recorded for "<size>" with seed <seed>

    Examples:
      | key  | size | seed |
      | tiny | tiny | 1    |
      | odd  | odd  | 1    |

  @case:model/files/4 @LL-M-004 @ours
  Scenario: Both kinds of tokenizer agree
    Given the haiku model in both formats
    When each is asked for the same texts
    Then both wrote the same, token by token
    And their tokenizers are "hf-json, gguf-bpe"

  @case:model/files/5 @LL-M-005 @ours @fresh
  Scenario: Loading is told in quarters
    Given a worker on the recipe model "tiny" with seed 1
    Then the log tells the loading at "0, 25, 50, 75, 100" percent
