Feature: Checkpoint 6, feed-forward
  mlp(x) = c_proj(gelu(c_fc(x))), four times as wide inside, with GPT-2's tanh form of GELU and both biases.

  @case:checkpoints/06/1 @LL-CP-06 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 6 agree with the golden of "transformers"
    And the tensors of checkpoint 6 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 6 agree with the reference

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

  @case:checkpoints/06/2 @LL-CP-06 @must
  Scenario Outline: In every layer it follows from what went into it: <key>
    Given the worker's capture of "<subject>" in every layer
    Then the tensors of checkpoint 6 follow from their own inputs

    Examples:
      | key  | subject          |
      | tiny | tiny/hello       |
      | odd  | recipe-odd/hello |

  @case:checkpoints/06/3 @LL-CP-06 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 6, bit for bit

  @case:checkpoints/06/4 @LL-CP-06 @must
  Scenario: It is four times as wide inside
    Given the worker's capture of "tiny/hello"
    Then "cp06.c_fc" is "as wide inside as the model says"
    And "cp06.gelu" is "as wide inside as the model says"

  @case:selftest/faults/06 @LL-CP-06 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault                     | shows       |
      | erf-gelu                  | cp06.gelu   |
      | relu                      | cp06.gelu   |
      | silu                      | cp06.gelu   |
      | gelu-missing              | cp06.gelu   |
      | hidden-bias-missing       | cp06.c_fc   |
      | feed-forward-bias-missing | cp06.c_proj |
      | quick-gelu                | cp06.gelu   |
      | feed-forward-transposed   | cp06.c_fc   |
