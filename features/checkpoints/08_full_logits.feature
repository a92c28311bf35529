Feature: Checkpoint 8, all blocks and the logits
  Every block on the former's output, ln_f once, and logits = ln_f · wteᵀ without a bias, [T, V].

  @case:checkpoints/08/1 @LL-CP-08 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 8 agree with the golden of "transformers"
    And the tensors of checkpoint 8 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 8 agree with the reference

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

  @case:checkpoints/08/2 @LL-CP-08 @must
  Scenario Outline: In every layer it follows from what went into it: <key>
    Given the worker's capture of "<subject>" in every layer
    Then the tensors of checkpoint 8 follow from their own inputs

    Examples:
      | key  | subject          |
      | tiny | tiny/hello       |
      | odd  | recipe-odd/hello |

  @case:checkpoints/08/3 @LL-CP-08 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 8, bit for bit

  @case:checkpoints/08/4 @LL-CP-08 @must
  Scenario: Every block of the model ran, and each did something
    Given the worker's capture of "tiny/hello"
    Then "cp08.block" is "there for every layer, each different from the former"

  @case:checkpoints/08/5 @LL-CP-08 @must
  Scenario: What comes later changes no earlier row of the logits
    Given the worker's capture of "tiny/quick-brown"
    And the worker's capture of the same prompt with another last token
    Then the captures are the same before their last position, bit for bit

  @case:selftest/faults/08 @LL-CP-08 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault               | shows             |
      | last-block-skipped  | cp08.block.{last} |
      | block-twice         | cp07.block        |
      | layers-reversed     | cp01.ln_1         |
      | final-norm-skipped  | cp08.ln_f         |
      | final-norm-twice    | cp08.ln_f         |
      | untied-head         | cp08.logits       |
      | head-bias           | cp08.logits       |
      | position-off-by-one | cp00.embed        |
      | position-missing    | cp00.embed        |
      | embedding-scaled    | cp00.embed        |
      | block-skipped       | cp07.block        |
      | logits-scaled       | cp08.logits       |
