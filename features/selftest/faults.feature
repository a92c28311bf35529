@selftest
Feature: The mistakes of Llama and Qwen2, in the reference
  What they have of their own: RMSNorm, rotary positions, keys shared by a group of queries, a gated feed-forward layer, a head
  that may be tied. Mistakes that every model can have are with the checkpoints, and are made in models of both families.

  @case:selftest/faults/llama @LL-S-005 @must
  Scenario Outline: It is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault                    | shows        |
      | rms-epsilon              | cp01.ln_1    |
      | rms-epsilon-outside-root | cp01.ln_1    |
      | mean-subtracted          | cp01.ln_1    |
      | norm-weight-missing      | cp01.ln_1    |
      | norm-weight-plus-one     | cp01.ln_1    |
      | rms-root-missing         | cp01.ln_1    |
      | sum-not-mean             | cp01.ln_1    |
      | qkv-biases-zeroed        | cp02.q       |
      | linear-transposed        | cp02.q       |
      | rotary-rows-permuted     | cp02.q       |
      | rotary-adjacent-pairs    | cp02.q_rope  |
      | rope-base                | cp02.q_rope  |
      | rope-position-off-by-one | cp02.q_rope  |
      | rotary-reversed          | cp02.q_rope  |
      | rotary-missing           | cp02.q_rope  |
      | rotary-queries-unturned  | cp02.q_rope  |
      | rotary-keys-unturned     | cp02.k_rope  |
      | rope-scaling-ignored     | cp02.q_rope  |
      | rotary-on-values         | cp03.step0.v |
      | keys-cached-unturned     | cp03.step0.k |
      | keys-turned-twice        | cp03.step0.k |
      | head-group               | cp04.scores  |
      | gate-up-swapped          | cp06.gate    |
      | up-activated             | cp06.swiglu  |
      | gelu-gate                | cp06.swiglu  |
      | relu-gate                | cp06.swiglu  |
      | sigmoid-gate             | cp06.swiglu  |
      | silu-missing             | cp06.swiglu  |
      | up-missing               | cp06.swiglu  |
      | product-activated        | cp06.swiglu  |
      | tied-head                | cp08.logits  |
