Feature: Checkpoint 3, KV cache
  The cache gives back what was put in, bit for bit: k and v of every position so far, [N, H, D].

  @case:checkpoints/03/1 @LL-CP-03 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 3 agree with the golden of "transformers"
    And the tensors of checkpoint 3 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 3 agree with the reference

    Examples:
      | key         | subject                        |
      | tiny        | tiny/hello                     |
      | tiny-long   | tiny/quick-brown               |
      | odd         | recipe-odd/hello               |
      | one-token   | recipe-odd/single              |
      | square      | recipe-odd/as-long-as-a-head   |
      | one-head    | recipe-one-head/once-upon      |
      | two-heads   | recipe-two-heads/hello         |
      | seven-heads | recipe-seven-heads/quick-brown |

  @case:checkpoints/03/2 @LL-CP-03 @must
  Scenario Outline: In every layer it follows from what went into it: <key>
    Given the worker's capture of "<subject>" in every layer
    Then the tensors of checkpoint 3 follow from their own inputs

    Examples:
      | key  | subject          |
      | tiny | tiny/hello       |
      | odd  | recipe-odd/hello |

  @case:checkpoints/03/3 @LL-CP-03 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 3, bit for bit

  @case:checkpoints/03/4 @LL-CP-03 @must
  Scenario Outline: After the prefill the cache holds k and v, bit for bit: <key>
    Given the worker's capture of "<subject>"
    Then "cp03.step0" is "what was put in"

    Examples:
      | key  | subject          |
      | tiny | tiny/hello       |
      | odd  | recipe-odd/hello |

  @case:checkpoints/03/5 @LL-CP-03 @must
  Scenario: A decode step changes nothing before its own position
    Given the worker's capture of "tiny/hello"
    Then "cp03.step1" is "the step before and one position more"

  @case:checkpoints/03/6 @LL-CP-03 @must
  Scenario: A prefill and a decode step make the cache that a longer prefill makes
    Given the worker's capture of "tiny/hello"
    And the worker's capture of the same prompt and its first generated token
    Then "cp03.step1.k" of the first agrees with "cp03.step0.k" of the second
    And "cp03.step1.v" of the first agrees with "cp03.step0.v" of the second

  @case:selftest/faults/03 @LL-CP-03 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault                | shows              |
      | written-late         | cp03.step0.k       |
      | written-early        | cp03.step0.k       |
      | start-never-advanced | cp03.step1.k       |
      | value-in-key-slot    | cp03.step0.k       |
      | stale-entry          | cp03.step0.k       |
      | other-layers-cache   | cp03.step0.k.L01   |
      | square-mask          | cp04.scores_masked |
