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

  @case:selftest/transplants/honest @LL-S-005 @must
  Scenario: Transformers without a mistake is given no name
    Given the capture of transformers with the mistake "honest"
    Then nothing is wrong with it
