Feature: Checkpoint 2, q, k and v
  qkv = ln_1 · W + b with W [C, 3C] as Hugging Face's Conv1D stores it; q is qkv[.., 0..C], k [C..2C], v [2C..3C], each as [T, H, D].

  @case:checkpoints/02/1 @LL-CP-02 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 2 agree with the golden of "transformers"
    And the tensors of checkpoint 2 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 2 agree with the reference

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

  @case:checkpoints/02/2 @LL-CP-02 @must
  Scenario Outline: In every layer it follows from what went into it: <key>
    Given the worker's capture of "<subject>" in every layer
    Then the tensors of checkpoint 2 follow from their own inputs

    Examples:
      | key  | subject          |
      | tiny | tiny/hello       |
      | odd  | recipe-odd/hello |

  @case:checkpoints/02/3 @LL-CP-02 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 2, bit for bit

  @case:checkpoints/02/4 @LL-CP-02 @must
  Scenario: q, k and v are three different tensors
    Given the worker's capture of "tiny/hello"
    Then "cp02.q" is "different from k and v"

  @case:selftest/faults/02 @LL-CP-02 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault                   | shows  |
      | projection-transposed   | cp02.q |
      | projection-bias-missing | cp02.q |
      | key-value-swapped       | cp02.k |
      | query-key-swapped       | cp02.q |
      | heads-interleaved       | cp02.q |
      | split-per-head          | cp02.q |
      | one-bias-missing        | cp02.q |
      | query-value-swapped     | cp02.q |
