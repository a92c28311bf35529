Feature: Checkpoint 5, attention output
  softmax of each masked row, the values weighted by it, the heads side by side in their order, and the projection with its bias: [T, C].

  @case:checkpoints/05/1 @LL-CP-05 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 5 agree with the golden of "transformers"
    And the tensors of checkpoint 5 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 5 agree with the reference

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

  @case:checkpoints/05/2 @LL-CP-05 @must
  Scenario Outline: In every layer it follows from what went into it: <key>
    Given the worker's capture of "<subject>" in every layer
    Then the tensors of checkpoint 5 follow from their own inputs

    Examples:
      | key  | subject          |
      | tiny | tiny/hello       |
      | odd  | recipe-odd/hello |

  @case:checkpoints/05/3 @LL-CP-05 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 5, bit for bit

  @case:checkpoints/05/4 @LL-CP-05 @must
  Scenario: Each row of probabilities sums to 1 and gives nothing to what lies ahead
    Given the worker's capture of "tiny/quick-brown"
    Then "cp05.probs" is "a distribution over the past"

  @case:checkpoints/05/5 @LL-CP-05 @must
  Scenario: Heads in another order, weights permuted with them, change nothing
    Given the worker's capture of "recipe-odd/hello"
    And the worker's capture of the same model with its heads in another order
    Then "cp05.attn_out" of the first agrees with "cp05.attn_out" of the second

  @case:selftest/faults/05 @LL-CP-05 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault               | shows         |
      | softmax-wrong-axis  | cp05.probs    |
      | softmax-missing     | cp05.probs    |
      | other-heads-values  | cp05.merged   |
      | merged-head-first   | cp05.merged   |
      | output-bias-missing | cp05.attn_out |
      | output-transposed   | cp05.attn_out |
      | mask-after-softmax  | cp05.probs    |
      | even-attention      | cp05.probs    |
