@selftest
Feature: Mistakes made by hand in another engine
  Transformers' own modules with one mistake each, captured by `golden/mistakes.py`. The first divergence is where the mistake
  is, and the diagnosis calls it by its name, though our code did not make it.

  @case:selftest/transplants @LL-S-005 @must
  Scenario Outline: <what>
    Given the capture of transformers with the mistake "<mistake>"
    Then it parts from the honest one first at "<first>"
    And the diagnosis of the capture names "<mistake>"

    Examples:
      | mistake                | first              | what                                            |
      | PositionOffByOne       | cp00.embed         | learned positions shifted by one                |
      | EmbeddingScaled        | cp00.embed         | token embedding scaled by the root of the width |
      | UnbiasedVariance       | cp01.ln_1          | variance divided by N - 1                       |
      | Epsilon1e12            | cp01.ln_1          | eps 1e-12                                       |
      | MeanNotSubtracted      | cp01.ln_1          | layer norm without subtracting the mean         |
      | ShiftMissing           | cp01.ln_1          | layer norm without its shift                    |
      | RmsNorm                | cp01.ln_1          | root mean square in place of layer norm         |
      | ProjectionBiasMissing  | cp02.q             | no bias on q, k and v                           |
      | KeyValueSwapped        | cp02.k             | k and v swapped                                 |
      | HeadsInterleaved       | cp02.q             | heads read as [T, D, H]                         |
      | SplitPerHead           | cp02.q             | q, k and v split per head, [H, 3, D]            |
      | ValueInKeySlot         | cp03.step0.k       | v stored in the slot of k                       |
      | ScoreScaleMissing      | cp04.scores        | scores not divided by the root of the head size |
      | KeyNotTransposed       | cp04.scores        | q times k as it lies, where T = D               |
      | MaskMissing            | cp04.scores_masked | no causal mask                                  |
      | FutureVisible          | cp04.scores_masked | mask off by one: one future token is seen       |
      | SoftmaxWrongAxis       | cp05.probs         | softmax over the queries                        |
      | OtherHeadsValues       | cp05.merged        | each head reads the values of the next          |
      | MergedHeadFirst        | cp05.merged        | heads merged as they lie, [H, T]                |
      | OutputBiasMissing      | cp05.attn_out      | no bias on the attention's c_proj               |
      | OutputTransposed       | cp05.attn_out      | the attention's c_proj transposed               |
      | FirstResidualMissing   | cp07.attn_residual | no residual around attention                    |
      | FirstNormsWeights      | cp06.ln_2          | ln_1's weights used for ln_2                    |
      | HiddenBiasMissing      | cp06.c_fc          | no bias on c_fc                                 |
      | ErfGelu                | cp06.gelu          | GELU by erf in place of tanh                    |
      | Silu                   | cp06.gelu          | SiLU in place of GELU                           |
      | FeedForwardBiasMissing | cp06.c_proj        | no bias on the MLP's c_proj                     |
      | SecondResidualMissing  | cp07.block         | no residual around the MLP                      |
      | FinalNormSkipped       | cp08.ln_f          | no ln_f                                         |
      | FinalNormTwice         | cp08.ln_f          | ln_f applied twice                              |

  @case:selftest/transplants/qwen2 @LL-S-005 @must
  Scenario Outline: Of Qwen2, where several may hide each other: <what>
    Given the capture of transformers with the mistake "qwen2/<mistake>"
    Then it parts from the honest one first at "<first>"
    And the diagnosis of the capture names "<mistake>"

    Examples:
      | key               | mistake                                              | first       | what                                            |
      | biases            | QkvBiasesZeroed                                      | cp02.q      | the biases of q, k and v zeroed at load         |
      | rotary            | RotaryAdjacentPairs                                  | cp02.q_rope | adjacent pairs turned in place of halves        |
      | byte-table        | ByteTableMissing                                     | cp12.text   | a byte-level decoder without the byte table     |
      | biases-rotary     | QkvBiasesZeroed+RotaryAdjacentPairs                  | cp02.q      | the first two                                   |
      | biases-byte-table | QkvBiasesZeroed+ByteTableMissing                     | cp02.q      | the first and the third                         |
      | rotary-byte-table | RotaryAdjacentPairs+ByteTableMissing                 | cp02.q_rope | the last two                                    |
      | all-three         | QkvBiasesZeroed+RotaryAdjacentPairs+ByteTableMissing | cp02.q      | all three                                       |
      | epsilon           | RmsEpsilon                                           | cp01.ln_1   | eps 1e-5 in place of 1e-6                       |
      | mean              | MeanSubtracted                                       | cp01.ln_1   | layer norm in place of root mean square         |
      | base              | RopeBase                                             | cp02.q_rope | a rope base of 10 000 in place of 1 000 000     |
      | position          | RopePositionOffByOne                                 | cp02.q_rope | positions counted from one                      |
      | group             | HeadGroup                                            | cp04.scores | query head h reads head h mod KV                |
      | scale             | ScoreScaleMissing                                    | cp04.scores | scores not divided by the root of the head size |
      | swapped           | GateUpSwapped                                        | cp06.gate   | the matrices of gate and up swapped             |
      | up                | UpActivated                                          | cp06.swiglu | silu of up in place of gate                     |
      | gelu              | GeluGate                                             | cp06.swiglu | GELU in place of SiLU                           |
      | head              | UntiedHead                                           | cp08.logits | a head of its own where it is the embedding     |

  @case:selftest/transplants/honest @LL-S-005 @must
  Scenario: Transformers without a mistake is given no name
    Given the capture of transformers with the mistake "honest"
    Then nothing is wrong with it

  @case:selftest/transplants/qwen2-honest @LL-S-005 @must
  Scenario: Nor is its Qwen2
    Given the capture of transformers with the mistake "qwen2/honest"
    Then nothing is wrong with it
