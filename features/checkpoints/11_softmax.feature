Feature: Checkpoint 11, softmax
  p = softmax(logits / temperature) at 0.5, 1 and 2, with the maximum subtracted first, [V].

  @case:checkpoints/11/1 @LL-CP-11 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 11 agree with the golden of "transformers"
    And the tensors of checkpoint 11 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 11 agree with the reference

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

  @case:checkpoints/11/3 @LL-CP-11 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 11, bit for bit

  @case:checkpoints/11/4 @LL-CP-11 @must
  Scenario Outline: The probabilities are those of the worker's own logits: <key>
    Given the worker's capture of "<subject>"
    Then "cp11.probs" is "the softmax of the selected logits"

    Examples:
      | key  | subject    |
      | tiny | tiny/hello |
      | loud | loud/hello |

  @case:selftest/faults/11 @LL-CP-11 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault                  | shows           |
      | temperature-multiplies | cp11.probs.t0.5 |
      | temperature-ignored    | cp11.probs.t0.5 |
      | maximum-not-subtracted | cp11.probs.t0.5 |
      | log-softmax            | cp11.probs.t0.5 |
