Feature: Checkpoint 0, foundation
  Before any tensor: the server answers, the start-up is in order, and a stub says that it is one.

  @case:checkpoints/00/1 @LL-CP-00 @must @stub @quick
  Scenario: The stub streams exactly its two tokens, frame by frame
    Given a stub worker
    When a job is sent with
      | field  | value    |
      | job_id | "cp-0"   |
      | seed   | 42       |
      | max_tokens | 2048 |
    Then the frames are exactly
      | event   | data                                                                                                     |
      | started | {"job_id":"cp-0","model":"stub","seed":42}                                                               |
      | token   | {"t":"STUB","i":0}                                                                                       |
      | token   | {"t":"RESPONSE","i":1}                                                                                   |
      | end     | {"tokens_out":2,"decode_time_ms":0,"stop_reason":"MAX_TOKENS","stop_sequence_matched":null,"seed":42}    |

  @case:checkpoints/00/2 @LL-CP-00 @must @stub @quick
  Scenario: The stub keeps the limit of one token
    Given a stub worker
    When a job is sent with
      | field      | value |
      | max_tokens | 1     |
    Then the frames carry the text "STUB"
    And the stream obeys "end-fields"

  @case:checkpoints/00/3 @LL-CP-00 @must @stub @quick
  Scenario: The stub says in its health that it is one
    Given a stub worker
    When GET "/health" is asked
    Then the answer's field "model" is "stub"
    And the answer's field "vram_bytes" is 0
    And the answer matches the contract "health"

  @case:checkpoints/00/4 @LL-CP-00 @must @stub @quick
  Scenario: The harness recognises a stub by what it does
    Given a stub worker
    Then the harness recognises the worker as a stub

  @case:checkpoints/00/5 @LL-CP-00 @ours @stub @fresh
  Scenario: The start-up of the CPU worker, line by line
    Given a pool manager that accepts
    And a fresh stub worker that calls it back
    Then the log carries in this order
      | message                            |
      | CPU worker starting                |
      | Loading model...                   |
      | Model loaded (stub)                |
      | Worker ready, starting HTTP server |
      | Callback sent to pool-managerd     |

  @case:checkpoints/00/6 @LL-CP-00 @ours @stub @fresh
  Scenario: Test mode, line by line
    When a stub worker is started with the callback "http://localhost:9999/ready"
    Then the worker answers
    And the log carries in this order
      | message                                   |
      | CPU worker starting                       |
      | Worker ready, starting HTTP server        |
      | Test mode: skipping pool manager callback |
