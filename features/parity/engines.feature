@selftest
Feature: Engines × stations
  Every engine on every tiny model, held against transformers at every station that both show. llama.cpp runs where it is
  built in (feature `llama-cpp`), and elsewhere its goldens stand for it; candle runs with the feature `candle`. The CPU engine
  is of GPT-2 alone. The matrix of all is printed at the end of the run, and is in its report.

  @case:parity/engines @LL-S-020 @must
  Scenario Outline: <engine> on <subject>
    Then the engine "<engine>" agrees with the golden of "transformers" at every station of "<subject>"

    Examples:
      | key                              | engine            | subject                       |
      | cpu-tiny-hello                   | cpu               | tiny/hello                    |
      | candle-tiny-hello                | candle            | tiny/hello                    |
      | reference-tiny-hello             | reference         | tiny/hello                    |
      | llama.cpp-tiny-hello             | llama.cpp         | tiny/hello                    |
      | shipped-tiny-hello               | llama.cpp-shipped | tiny/hello                    |
      | cpu-tiny-life                    | cpu               | tiny/life                     |
      | candle-tiny-life                 | candle            | tiny/life                     |
      | reference-tiny-life              | reference         | tiny/life                     |
      | llama.cpp-tiny-life              | llama.cpp         | tiny/life                     |
      | shipped-tiny-life                | llama.cpp-shipped | tiny/life                     |
      | cpu-odd-as-long-as-a-head        | cpu               | recipe-odd/as-long-as-a-head  |
      | candle-odd-as-long-as-a-head     | candle            | recipe-odd/as-long-as-a-head  |
      | reference-odd-as-long-as-a-head  | reference         | recipe-odd/as-long-as-a-head  |
      | llama.cpp-odd-as-long-as-a-head  | llama.cpp         | recipe-odd/as-long-as-a-head  |
      | shipped-odd-as-long-as-a-head    | llama.cpp-shipped | recipe-odd/as-long-as-a-head  |
      | cpu-odd-full-context             | cpu               | recipe-odd/full-context       |
      | candle-odd-full-context          | candle            | recipe-odd/full-context       |
      | reference-odd-full-context       | reference         | recipe-odd/full-context       |
      | llama.cpp-odd-full-context       | llama.cpp         | recipe-odd/full-context       |
      | shipped-odd-full-context         | llama.cpp-shipped | recipe-odd/full-context       |
      | cpu-one-head-once-upon           | cpu               | recipe-one-head/once-upon     |
      | candle-one-head-once-upon        | candle            | recipe-one-head/once-upon     |
      | reference-one-head-once-upon     | reference         | recipe-one-head/once-upon     |
      | llama.cpp-one-head-once-upon     | llama.cpp         | recipe-one-head/once-upon     |
      | shipped-one-head-once-upon       | llama.cpp-shipped | recipe-one-head/once-upon     |
      | cpu-two-heads-quick-brown        | cpu               | recipe-two-heads/quick-brown  |
      | candle-two-heads-quick-brown     | candle            | recipe-two-heads/quick-brown  |
      | reference-two-heads-quick-brown  | reference         | recipe-two-heads/quick-brown  |
      | llama.cpp-two-heads-quick-brown  | llama.cpp         | recipe-two-heads/quick-brown  |
      | shipped-two-heads-quick-brown    | llama.cpp-shipped | recipe-two-heads/quick-brown  |
      | cpu-seven-heads-single           | cpu               | recipe-seven-heads/single     |
      | candle-seven-heads-single        | candle            | recipe-seven-heads/single     |
      | reference-seven-heads-single     | reference         | recipe-seven-heads/single     |
      | llama.cpp-seven-heads-single     | llama.cpp         | recipe-seven-heads/single     |
      | shipped-seven-heads-single       | llama.cpp-shipped | recipe-seven-heads/single     |
      | candle-llama-hello               | candle            | recipe-llama/hello            |
      | reference-llama-hello            | reference         | recipe-llama/hello            |
      | llama.cpp-llama-hello            | llama.cpp         | recipe-llama/hello            |
      | candle-llama-quick-brown         | candle            | recipe-llama/quick-brown      |
      | reference-llama-quick-brown      | reference         | recipe-llama/quick-brown      |
      | llama.cpp-llama-quick-brown      | llama.cpp         | recipe-llama/quick-brown      |
      | candle-llama-odd-quick-brown     | candle            | recipe-llama-odd/quick-brown  |
      | reference-llama-odd-quick-brown  | reference         | recipe-llama-odd/quick-brown  |
      | llama.cpp-llama-odd-quick-brown  | llama.cpp         | recipe-llama-odd/quick-brown  |
      | candle-llama-odd-single          | candle            | recipe-llama-odd/single       |
      | reference-llama-odd-single       | reference         | recipe-llama-odd/single       |
      | llama.cpp-llama-odd-single       | llama.cpp         | recipe-llama-odd/single       |
      | candle-llama-odd-full-context    | candle            | recipe-llama-odd/full-context |
      | reference-llama-odd-full-context | reference         | recipe-llama-odd/full-context |
      | llama.cpp-llama-odd-full-context | llama.cpp         | recipe-llama-odd/full-context |
      | candle-qwen2-hello               | candle            | recipe-qwen2/hello            |
      | reference-qwen2-hello            | reference         | recipe-qwen2/hello            |
      | llama.cpp-qwen2-hello            | llama.cpp         | recipe-qwen2/hello            |
      | candle-qwen2-single              | candle            | recipe-qwen2/single           |
      | reference-qwen2-single           | reference         | recipe-qwen2/single           |
      | llama.cpp-qwen2-single           | llama.cpp         | recipe-qwen2/single           |
      | candle-qwen2-odd-quick-brown     | candle            | recipe-qwen2-odd/quick-brown  |
      | reference-qwen2-odd-quick-brown  | reference         | recipe-qwen2-odd/quick-brown  |
      | llama.cpp-qwen2-odd-quick-brown  | llama.cpp         | recipe-qwen2-odd/quick-brown  |
      | candle-qwen2-odd-once-upon       | candle            | recipe-qwen2-odd/once-upon    |
      | reference-qwen2-odd-once-upon    | reference         | recipe-qwen2-odd/once-upon    |
      | llama.cpp-qwen2-odd-once-upon    | llama.cpp         | recipe-qwen2-odd/once-upon    |
