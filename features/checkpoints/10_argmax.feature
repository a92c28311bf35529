Feature: Checkpoint 10, argmax
  At a temperature below 1e-6 the token with the largest logit; among equals the lowest id.

  @case:checkpoints/10/1 @LL-CP-10 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 10 agree with the golden of "transformers"
    And the tensors of checkpoint 10 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 10 agree with the reference

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

  @case:checkpoints/10/3 @LL-CP-10 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 10, bit for bit

  @case:checkpoints/10/4 @LL-CP-10 @must
  Scenario Outline: It is the largest of the selected logits, and the lowest id of equals: <key>
    Given the worker's capture of "<subject>"
    Then "cp10.argmax" is "the lowest id of the largest selected logit"

    Examples:
      | key  | subject     |
      | tiny | tiny/hello  |
      | ties | twins/hello |

  @case:selftest/faults/10 @LL-CP-10 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault               | shows       |
      | argmin              | cp10.argmax |
      | argmax-of-wrong-row | cp10.argmax |
      | highest-on-ties     | cp10.argmax |
      | sampled-at-zero     | cp10.argmax |
