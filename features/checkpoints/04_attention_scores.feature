Feature: Checkpoint 4, attention scores
  scores = q · kᵀ / √D, [H, T, N]; then −∞ wherever the position is later than the token's own.

  @case:checkpoints/04/1 @LL-CP-04 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 4 agree with the golden of "transformers"
    And the tensors of checkpoint 4 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 4 agree with the reference

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

  @case:checkpoints/04/2 @LL-CP-04 @must
  Scenario Outline: In every layer it follows from what went into it: <key>
    Given the worker's capture of "<subject>" in every layer
    Then the tensors of checkpoint 4 follow from their own inputs

    Examples:
      | key  | subject          |
      | tiny | tiny/hello       |
      | odd  | recipe-odd/hello |

  @case:checkpoints/04/3 @LL-CP-04 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 4, bit for bit

  @case:checkpoints/04/4 @LL-CP-04 @must
  Scenario Outline: Exactly what lies ahead is masked: <key>
    Given the worker's capture of "<subject>"
    Then "cp04.scores_masked" is "masked above the diagonal and untouched elsewhere"

    Examples:
      | key       | subject           |
      | tiny      | tiny/quick-brown  |
      | one-token | recipe-odd/single |

  @case:checkpoints/04/5 @LL-CP-04 @must
  Scenario: What comes later changes nothing that came before
    Given the worker's capture of "tiny/quick-brown"
    And the worker's capture of the same prompt with another last token
    Then the captures are the same before their last position, bit for bit

  @case:selftest/faults/04 @LL-CP-04 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault               | shows              |
      | score-scale-missing | cp04.scores        |
      | scaled-by-head-size | cp04.scores        |
      | key-not-transposed  | cp04.scores        |
      | mask-missing        | cp04.scores_masked |
      | current-masked      | cp04.scores_masked |
      | future-visible      | cp04.scores_masked |
      | mask-too-small      | cp04.scores_masked |
      | position-bias       | cp04.scores        |
      | masked-to-zero      | cp04.scores_masked |
      | mask-reversed       | cp04.scores_masked |
      | scaled-by-width     | cp04.scores        |
