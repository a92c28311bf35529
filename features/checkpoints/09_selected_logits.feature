Feature: Checkpoint 9, the selected logits
  The logits of the last position, [V], for one token and for many.

  @case:checkpoints/09/1 @LL-CP-09 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 9 agree with the golden of "transformers"
    And the tensors of checkpoint 9 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 9 agree with the reference

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

  @case:checkpoints/09/2 @LL-CP-09 @must
  Scenario Outline: In every layer it follows from what went into it: <key>
    Given the worker's capture of "<subject>" in every layer
    Then the tensors of checkpoint 9 follow from their own inputs

    Examples:
      | key  | subject          |
      | tiny | tiny/hello       |
      | odd  | recipe-odd/hello |

  @case:checkpoints/09/3 @LL-CP-09 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 9, bit for bit

  @case:checkpoints/09/4 @LL-CP-09 @must
  Scenario Outline: They are the last row of the logits: <key>
    Given the worker's capture of "<subject>"
    Then "cp09.logits" is "the last row of cp08.logits"

    Examples:
      | key         | subject           |
      | one-token   | recipe-odd/single |
      | many-tokens | tiny/quick-brown  |

  @case:selftest/faults/09 @LL-CP-09 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault            | shows       |
      | first-row        | cp09.logits |
      | last-but-one-row | cp09.logits |
      | mean-of-rows     | cp09.logits |
