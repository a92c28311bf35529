@built-in @chain
Feature: Admission
  A queue that is really full refuses, and nothing else does. What is wrong with a task is told, all of it.

  @case:orchestrator/admission/1 @LL-O-010 @must
  Scenario: Tasks of one priority run in the order in which they were admitted
    Given a chain with the worker "15 ms"
    When tasks are submitted as "first, second, third, fourth" with
      | field      | value |
      | max_tokens | 20    |
    And "first, second, third, fourth" have ended
    Then the jobs started in the order "first, second, third, fourth"

  @case:orchestrator/admission/2 @LL-O-011 @must
  Scenario: What waits is interactive first, and batch tasks keep their order
    Given a chain with the worker "10 ms"
    When a task is submitted as "running" with
      | field      | value |
      | max_tokens | 60    |
    And the first token of "running" has arrived
    And tasks are submitted as "batch one, batch two" with
      | field    | value   |
      | priority | "batch" |
    Then the answer shows:
      | pointer              | value |
      | /body/queue_position | 1     |
    When tasks are submitted as "urgent"
    Then the answer shows:
      | pointer              | value |
      | /body/queue_position | 0     |
    When "running, batch one, batch two, urgent" have ended
    Then the jobs started in the order "running, urgent, batch one, batch two"

  @case:orchestrator/admission/3 @LL-O-012 @must
  Scenario: A full queue refuses the new task, says when to come back, and has room again
    Given the setting ORCHD_ADMISSION_CAPACITY is "2"
    And a chain with the worker "10 ms"
    When a task is submitted as "running" with
      | field      | value |
      | max_tokens | 100   |
    And the first token of "running" has arrived
    And tasks are submitted as "waiting, last"
    And a task is submitted as "refused"
    Then the answer is 429 with the code "ADMISSION_REJECT"
    And the answer matches the contract "task_refusal"
    And all ways to say when to come back agree
    And the answer shows:
      | pointer                  | value    |
      | /body/error/policy_label | "reject" |
      | /body/error/retriable    | true     |
    When "running, waiting, last" have ended
    And a task is submitted as "later"
    Then the answer is 202
    When "later" has ended
    Then the stream "later" ended with "end"

  @case:orchestrator/admission/4 @LL-O-013 @must
  Scenario: With drop-lru the oldest batch task makes room
    Given the setting ORCHD_ADMISSION_CAPACITY is "2"
    And the setting ORCHD_ADMISSION_POLICY is "drop-lru"
    And a chain with the worker "10 ms"
    When a task is submitted as "running" with
      | field      | value |
      | max_tokens | 100   |
    And the first token of "running" has arrived
    And tasks are submitted as "oldest, younger" with
      | field    | value   |
      | priority | "batch" |
    And a task is submitted as "new" with
      | field    | value   |
      | priority | "batch" |
    Then the answer is 202
    When tasks are submitted as "urgent, more urgent"
    And a task is submitted as "refused"
    Then the answer is 429 with the code "QUEUE_FULL_DROP_LRU"
    And all ways to say when to come back agree
    When "oldest, younger, new, urgent" have ended
    Then the stream "oldest" shows:
      | pointer     | value                 |
      | /error/code | "QUEUE_FULL_DROP_LRU" |
    And the stream "younger" obeys every rule
    And the stream "urgent" ended with "end"

  @case:orchestrator/admission/5 @LL-O-014 @must
  Scenario: Any task that a free chain can run is admitted
    Given a chain with the worker "1 ms"
    When a task is submitted as "large" with
      | field           | value   |
      | expected_tokens | 2000    |
    Then the answer is 202

  @case:orchestrator/admission/12 @LL-O-014 @must
  Scenario: A queue without a bound refuses nobody
    Given the setting ORCHD_ADMISSION_CAPACITY is "-1"
    And a chain with the worker "1 ms"
    When tasks are submitted as "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"
    Then the answer is 202
    When "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12" have ended
    Then "/metrics" shows:
      | pointer               | value  |
      | /tasks_enqueued_total | 12     |
      | /queue_depth          | 0      |

  @case:orchestrator/admission/6 @LL-O-015 @must
  Scenario: What is predicted is about what happens
    Given a chain with the worker "10 ms"
    When tasks are submitted as "known" with
      | field      | value |
      | max_tokens | 100   |
    And "known" has ended
    And tasks are submitted as "first, second, third" with
      | field           | value |
      | max_tokens      | 100   |
      | expected_tokens | 100   |
    Then "first, second, third" started when it was predicted to

  @case:orchestrator/admission/7 @LL-O-016 @must
  Scenario Outline: A task is refused, and the field is named: <field> is <value>
    Given a chain with the worker "1 ms"
    When a task is submitted as "wrong" with
      | field   | value   |
      | <field> | <value> |
    Then the answer is 400 with the code "<code>"
    And the answer matches the contract "task_refusal"
    And the answer lists exactly the fields "<field>"

    Examples:
      | field           | value                    | code           |
      | task_id         | "not-a-uuid"             | INVALID_PARAMS |
      | session_id      | (absent)                 | INVALID_PARAMS |
      | workload        | "embedding"              | INVALID_PARAMS |
      | engine          | "vllm"                   | INVALID_PARAMS |
      | ctx             | 0                        | INVALID_PARAMS |
      | priority        | "urgent"                 | INVALID_PARAMS |
      | prompt          | ""                       | INVALID_PARAMS |
      | max_tokens      | 2049                     | INVALID_PARAMS |
      | deadline_ms     | 0                        | DEADLINE_UNMET |
      | temperature     | 2.5                      | INVALID_PARAMS |
      | top_p           | -0.5                     | INVALID_PARAMS |
      | seed            | -1                       | INVALID_PARAMS |
      | determinism     | "sometimes"              | INVALID_PARAMS |
      | kv_hint         | "lukewarm"               | INVALID_PARAMS |
      | expected_tokens | 0                        | INVALID_PARAMS |
      | shoe_size       | 43                       | INVALID_PARAMS |

  @case:orchestrator/admission/8 @LL-O-016 @must
  Scenario: Everything that is wrong is listed at once
    Given a chain with the worker "1 ms"
    When a task is submitted as "wrong" with
      | field       | value  |
      | workload    | "rerank" |
      | engine      | "tgi"  |
      | temperature | 3      |
      | max_tokens  | 0      |
    Then the answer lists exactly the fields "workload, engine, temperature, max_tokens"

  @case:orchestrator/admission/9 @LL-O-017 @must
  Scenario: A task's id is taken once
    Given a chain with the worker "5 ms"
    When a task is submitted as "first" with
      | field   | value                                  |
      | task_id | "5f0c3a52-6f3b-4f6e-9b55-0d3c1e6f7a01" |
    And a task is submitted as "second" with
      | field   | value                                  |
      | task_id | "5f0c3a52-6f3b-4f6e-9b55-0d3c1e6f7a01" |
    Then the answer is 409 with the code "CONFLICT"

  @case:orchestrator/admission/10 @LL-O-018 @must
  Scenario: A model that no node has is not admitted
    Given a chain with the worker "1 ms"
    When a task is submitted as "absent" with
      | field     | value                  |
      | model_ref | "file:/nowhere/m.gguf" |
    Then the answer is 503 with the code "MODEL_NOT_AVAILABLE"

  @case:orchestrator/admission/11 @LL-O-019 @must
  Scenario: A session's budget of tokens refuses what cannot fit
    Given a chain with the worker "1 ms"
    When a task is submitted as "spending" with
      | field         | value                                  |
      | session_id    | "5f0c3a52-6f3b-4f6e-9b55-0d3c1e6f7a02" |
      | tokens_budget | 20                                     |
      | max_tokens    | 12                                     |
    Then the answer is 202
    And the answer shows:
      | pointer                            | value |
      | /headers/x-budget-tokens-remaining | like "^[0-9]+$" |
    When "spending" has ended
    And a task is submitted as "beyond" with
      | field      | value                                  |
      | session_id | "5f0c3a52-6f3b-4f6e-9b55-0d3c1e6f7a02" |
      | max_tokens | 12                                     |
    Then the answer is 400 with the code "BUDGET_EXCEEDED"

  @case:orchestrator/admission/13 @LL-O-019 @must
  Scenario: A session's time ends what runs, and what comes after is refused
    Given a chain with the worker "20 ms"
    When a task is submitted as "spending" with
      | field          | value                                  |
      | session_id     | "5f0c3a52-6f3b-4f6e-9b55-0d3c1e6f7a02" |
      | time_budget_ms | 400                                    |
      | max_tokens     | 2000                                   |
    And "spending" has ended
    Then the stream "spending" shows:
      | pointer     | value             |
      | /error/code | "BUDGET_EXCEEDED" |
      | /tokens     | above 0           |
    When a task is submitted as "beyond" with
      | field      | value                                  |
      | session_id | "5f0c3a52-6f3b-4f6e-9b55-0d3c1e6f7a02" |
    Then the answer is 400 with the code "BUDGET_EXCEEDED"
