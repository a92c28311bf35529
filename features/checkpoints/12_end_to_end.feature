Feature: Checkpoint 12, end to end
  Greedy generation: the ids and the text, the same in every run, with the cache as without it.

  @case:checkpoints/12/1 @LL-CP-12 @must
  Scenario Outline: It agrees with independent engines: <key>
    Given the worker's capture of "<subject>"
    Then the tensors of checkpoint 12 agree with the golden of "transformers"
    And the tensors of checkpoint 12 agree with the golden of "llama.cpp"
    And the tensors of checkpoint 12 agree with the reference

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

  @case:checkpoints/12/3 @LL-CP-12 @must
  Scenario: Three runs give the same bits
    Given the worker's capture of "tiny/hello"
    And the worker's capture of "tiny/hello" once more
    And the worker's capture of "tiny/hello" once more
    Then the captures are the same in checkpoint 12, bit for bit

  @case:checkpoints/12/4 @LL-CP-12 @must
  Scenario: Generating with the cache gives what recomputing everything gives
    Given the worker's capture of "tiny/hello"
    Then the generated ids are those that it gives when each prefix is asked for alone

  @case:checkpoints/12/5 @LL-CP-12 @must
  Scenario: The text that was streamed is the text that was captured
    Given the worker's capture of "tiny/hello"
    Then the streamed text is that of the capture

  @case:checkpoints/12/6 @LL-CP-12 @must @lane:real-gpt2
  Scenario: GPT-2 medium, with its real weights, is a little late to the party
    Given a worker on the model that LLORCH_GPT2_DIR names
    When a job is sent with
      | field       | value    |
      | prompt      | "Hello." |
      | temperature | 0        |
      | max_tokens  | 10       |
    Then the frames carry the text " I'm a little late to the party, but"

  @case:selftest/faults/12 @LL-CP-12 @must @selftest
  Scenario Outline: A mistake of this checkpoint is caught where it first shows, and named: <fault>
    Given the reference with the fault "<fault>"
    Then it shows first at "<shows>", and nowhere that it does not touch
    And the diagnosis names it

    Examples:
      | fault              | shows        |
      | cache-dropped      | cp03.step1.k |
      | position-restarted | cp03.step1.k |
      | prompt-twice       | cp00.embed   |
      | token-not-appended | cp03.step1.k |
      | stops-early        | cp12.ids     |
      | beginning-of-text  | cp00.embed   |
      | joined-with-spaces | cp12.text    |
      | byte-table-missing | cp12.text    |
