@built-in @chain
Feature: A task, from the client to the worker and back
  A task is admitted, waits, runs on a node's worker, and streams its text as it is computed. Every field that is accepted
  has an effect that a client can see.

  @case:orchestrator/tasks/1 @LL-O-001 @must
  Scenario: From enqueue to the end
    Given a chain with the worker "haiku"
    When a task is submitted as "first"
    Then the answer is 202
    And the answer matches the contract "task_admission"
    And the answer shows:
      | pointer              | value |
      | /body/queue_position | 0     |
      | /headers/x-correlation-id | a text |
    When "first" has ended
    Then the stream "first" obeys every rule
    And the stream "first" shows:
      | pointer              | value        |
      | /started/queue_position | 0         |
      | /tokens              | above 0      |
      | /end/tokens_out      | 8            |
      | /end/stop_reason     | "MAX_TOKENS" |
      | /end/seed            | 7            |
    And the task "first" shows:
      | pointer | value       |
      | /state  | "completed" |

  @case:orchestrator/tasks/2 @LL-O-002 @must
  Scenario: The same seed gives the same text, another seed another
    Given a chain with the worker "haiku"
    When tasks are submitted as "once, again" with
      | field       | value |
      | temperature | 1.5   |
      | max_tokens  | 30    |
    And "once, again" have ended
    Then the texts of "once, again" are equal
    When a task is submitted as "other" with
      | field       | value |
      | temperature | 1.5   |
      | max_tokens  | 30    |
      | seed        | 8     |
    And "other" has ended
    Then the texts of "once, other" are different

  @case:orchestrator/tasks/3 @LL-O-002 @must
  Scenario Outline: <field> is passed on to the worker
    Given a chain with the worker "haiku"
    When a task is submitted as "plain" with
      | field       | value         |
      | temperature | <temperature> |
      | max_tokens  | 40            |
    And "plain" has ended
    And a task is submitted as "changed" with
      | field       | value         |
      | temperature | <temperature> |
      | max_tokens  | 40            |
      | <field>     | <value>       |
    And "changed" has ended
    Then the texts of "plain, changed" are different

    Examples:
      | field              | value | temperature |
      | top_p              | 0.05  | 2.0         |
      | top_k              | 1     | 2.0         |
      | min_p              | 0.9   | 2.0         |
      | repetition_penalty | 0.2   | 0.0         |

  @case:orchestrator/tasks/4 @LL-O-002 @must
  Scenario: A stop sequence ends the text before it
    Given a chain with the worker "haiku"
    When a task is submitted as "stopped" with
      | field       | value   |
      | temperature | 0.0     |
      | max_tokens  | 60      |
      | prompt      | "Write a haiku about the sea" |
      | stop        | ["\\n"] |
    And "stopped" has ended
    Then the stream "stopped" shows:
      | pointer                    | value           |
      | /end/stop_reason           | "STOP_SEQUENCE" |
      | /end/stop_sequence_matched | "\\n"           |

  @case:orchestrator/tasks/5 @LL-O-003 @must
  Scenario: Strict determinism without a seed draws one and reports it, and it gives the text again
    Given a chain with the worker "haiku"
    When a task is submitted as "drawn" with
      | field       | value    |
      | seed        | (absent) |
      | determinism | "strict" |
    And "drawn" has ended
    Then the stream "drawn" shows:
      | pointer       | value    |
      | /started/seed | a number |
      | /end/seed     | a number |

  @case:orchestrator/tasks/6 @LL-O-004 @must
  Scenario: A context that the model does not have is refused
    Given a chain with the worker "haiku"
    When a task is submitted as "large" with
      | field | value  |
      | ctx   | 100000 |
    Then the answer is 400 with the code "INVALID_PARAMS"
    And the answer lists exactly the fields "ctx"

  @case:orchestrator/tasks/7 @LL-O-005 @must
  Scenario: A deadline ends a task that runs and one that waits
    Given a chain with the worker "20 ms"
    When a task is submitted as "running" with
      | field       | value |
      | max_tokens  | 200   |
      | deadline_ms | 1200  |
    And the first token of "running" has arrived
    And a task is submitted as "waiting" with
      | field       | value |
      | deadline_ms | 400   |
    And "waiting" has ended
    And "running" has ended
    Then the stream "waiting" shows:
      | pointer     | value           |
      | /error/code | "DEADLINE_UNMET" |
      | /tokens     | 0               |
    And the stream "running" shows:
      | pointer     | value           |
      | /error/code | "DEADLINE_UNMET" |
      | /tokens     | above 0         |

  @case:orchestrator/tasks/8 @LL-O-006 @must
  Scenario: The hint about the cache reaches the engine
    Given a chain of the nodes
      | node | workers |
      | a    | none    |
    When the handoff file of node a names the engine "one"
    Then soon "/v2/pools/pool-a/health" shows:
      | pointer | value |
      | /ready  | true  |
    When a task is submitted as "cold" with
      | field     | value          |
      | engine    | "llamacpp"     |
      | model_ref | "engine-model" |
      | kv_hint   | "cold"         |
    And "cold" has ended
    Then the engine "one" was asked for no reuse of prefixes
    When a task is submitted as "warm" with
      | field     | value          |
      | engine    | "llamacpp"     |
      | model_ref | "engine-model" |
      | kv_hint   | "reuse"        |
    And "warm" has ended
    Then the engine "one" was asked to reuse prefixes
