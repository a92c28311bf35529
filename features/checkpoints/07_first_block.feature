Feature: Checkpoint 7, the first block
  Pre-norm: h = x + attn(ln_1(x)), y = h + mlp(ln_2(h)), [T, C].

  @case:checkpoints/07/1 @LL-CP-07 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 7 agree with the golden of "transformers"
    And the tensors of checkpoint 7 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 7 agree with the reference

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

  @case:checkpoints/07/2 @LL-CP-07 @must
  Scenario Outline: In every layer it follows from what went into it: <key>
    Given the worker's capture of "<subject>" in every layer
    Then the tensors of checkpoint 7 follow from their own inputs

    Examples:
      | key  | subject          |
      | tiny | tiny/hello       |
      | odd  | recipe-odd/hello |

  @case:checkpoints/07/3 @LL-CP-07 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 7, bit for bit

  @case:checkpoints/07/4 @LL-CP-07 @must
  Scenario: A block changes its input and keeps its spread
    Given the worker's capture of "tiny/hello"
    Then "cp07.block" is "different from its input and not collapsed"

  @case:selftest/faults/07 @LL-CP-07 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault                   | shows              |
      | post-norm               | cp01.ln_1          |
      | first-residual-missing  | cp07.attn_residual |
      | second-residual-missing | cp07.block         |
      | residual-twice          | cp07.attn_residual |
      | second-norm-skipped     | cp06.ln_2          |
      | first-norms-weights     | cp06.ln_2          |
      | parallel                | cp06.ln_2          |
      | first-norm-skipped      | cp01.ln_1          |
      | attention-skipped       | cp07.attn_residual |
      | feed-forward-skipped    | cp07.block         |
      | residual-from-input     | cp07.block         |
      | other-layers-weights    | cp01.ln_1.L01      |
