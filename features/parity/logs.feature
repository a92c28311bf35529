Feature: The parity logs of two engines
  The worker draws a haiku with its log on; llama.cpp (feature `llama-cpp`) follows the same tokens with its own; the two logs
  tell every tensor of every pass.

  @case:parity/logs/haiku @LL-S-021 @ours @selftest
  Scenario: A haiku in the worker and in llama.cpp
    Then the parity logs of the worker and of llama.cpp agree over a haiku
