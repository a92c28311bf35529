Feature: Checkpoint 1, layer norm
  ln_1(x) = (x − mean) / √(variance + ε) · weight + bias, for each row of x [T, C]; the variance is the biased one, and ε stands
  inside the root.

  @case:checkpoints/01/1 @LL-CP-01 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 1 agree with the golden of "transformers"
    And the tensors of checkpoint 1 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 1 agree with the reference

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

  @case:checkpoints/01/2 @LL-CP-01 @must
  Scenario Outline: In every layer it follows from what went into it: <key>
    Given the worker's capture of "<subject>" in every layer
    Then the tensors of checkpoint 1 follow from their own inputs

    Examples:
      | key  | subject          |
      | tiny | tiny/hello       |
      | odd  | recipe-odd/hello |

  @case:checkpoints/01/3 @LL-CP-01 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 1, bit for bit

  @case:checkpoints/01/4 @LL-CP-01 @must
  Scenario Outline: Before scale and shift each row has mean 0 and variance v / (v + ε): <key>
    Given the worker's capture of "<subject>"
    Then "cp01.ln_1" is "normalised before scale and shift"

    Examples:
      | key            | subject    |
      | ordinary       | tiny/hello |
      | small-variance | flat/hello |

  @case:selftest/faults/01 @LL-CP-01 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault                | shows     |
      | unbiased-variance    | cp01.ln_1 |
      | epsilon1e6           | cp01.ln_1 |
      | epsilon1e12          | cp01.ln_1 |
      | epsilon-outside-root | cp01.ln_1 |
      | mean-not-subtracted  | cp01.ln_1 |
      | wrong-axis           | cp01.ln_1 |
      | scale-missing        | cp01.ln_1 |
      | shift-missing        | cp01.ln_1 |
      | rms-norm             | cp01.ln_1 |
      | other-epsilon        | cp01.ln_1 |
      | root-missing         | cp01.ln_1 |
