@selftest
Feature: Engines × stations
  Every engine on every tiny model, held against transformers at every station that both show. llama.cpp runs where it is
  built in (feature `llama-cpp`); elsewhere its goldens stand for it. The matrix of all is printed at the end of the run, and
  is in its report.

  @case:parity/engines @LL-S-006 @must
  Scenario Outline: <engine> on <subject>
    Then the engine "<engine>" agrees with the golden of "transformers" at every station of "<subject>"

    Examples:
      | key                             | engine            | subject                      |
      | cpu-tiny-hello                  | cpu               | tiny/hello                   |
      | reference-tiny-hello            | reference         | tiny/hello                   |
      | llama.cpp-tiny-hello            | llama.cpp         | tiny/hello                   |
      | shipped-tiny-hello              | llama.cpp-shipped | tiny/hello                   |
      | cpu-tiny-life                   | cpu               | tiny/life                    |
      | reference-tiny-life             | reference         | tiny/life                    |
      | llama.cpp-tiny-life             | llama.cpp         | tiny/life                    |
      | shipped-tiny-life               | llama.cpp-shipped | tiny/life                    |
      | cpu-odd-as-long-as-a-head       | cpu               | recipe-odd/as-long-as-a-head |
      | reference-odd-as-long-as-a-head | reference         | recipe-odd/as-long-as-a-head |
      | llama.cpp-odd-as-long-as-a-head | llama.cpp         | recipe-odd/as-long-as-a-head |
      | shipped-odd-as-long-as-a-head   | llama.cpp-shipped | recipe-odd/as-long-as-a-head |
      | cpu-odd-full-context            | cpu               | recipe-odd/full-context      |
      | reference-odd-full-context      | reference         | recipe-odd/full-context      |
      | llama.cpp-odd-full-context      | llama.cpp         | recipe-odd/full-context      |
      | shipped-odd-full-context        | llama.cpp-shipped | recipe-odd/full-context      |
      | cpu-one-head-once-upon          | cpu               | recipe-one-head/once-upon    |
      | reference-one-head-once-upon    | reference         | recipe-one-head/once-upon    |
      | llama.cpp-one-head-once-upon    | llama.cpp         | recipe-one-head/once-upon    |
      | shipped-one-head-once-upon      | llama.cpp-shipped | recipe-one-head/once-upon    |
      | cpu-two-heads-quick-brown       | cpu               | recipe-two-heads/quick-brown |
      | reference-two-heads-quick-brown | reference         | recipe-two-heads/quick-brown |
      | llama.cpp-two-heads-quick-brown | llama.cpp         | recipe-two-heads/quick-brown |
      | shipped-two-heads-quick-brown   | llama.cpp-shipped | recipe-two-heads/quick-brown |
      | cpu-seven-heads-single          | cpu               | recipe-seven-heads/single    |
      | reference-seven-heads-single    | reference         | recipe-seven-heads/single    |
      | llama.cpp-seven-heads-single    | llama.cpp         | recipe-seven-heads/single    |
      | shipped-seven-heads-single      | llama.cpp-shipped | recipe-seven-heads/single    |
