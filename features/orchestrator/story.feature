@built-in @chain
Feature: What is counted and told
  Counters rise by what happened and rest while nothing does; logs tell each step under the task's correlation id, and never
  a prompt.

  @case:orchestrator/story/1 @LL-O-060 @must
  Scenario: tokens_out_total is the sum of what the tasks were told
    Given a chain with the worker "haiku"
    When the metrics are scraped
    And tasks are submitted as "one, two, three" with
      | field      | value |
      | max_tokens | 11    |
    And "one, two, three" have ended
    Then "tokens_out_total" has risen by the tokens_out of "one, two, three"

  @case:orchestrator/story/2 @LL-O-061 @must
  Scenario: Two scrapes without a task between them are equal
    Given a chain with the worker "1 ms"
    When a task is submitted as "one"
    And "one" has ended
    And the metrics are scraped
    And the metrics are scraped
    Then no label of the scrape is an id
    And both scrapes are equal, uptime aside

  @case:orchestrator/story/3 @LL-O-062 @must
  Scenario: A correlation id goes through all three daemons' logs
    Given a chain with the worker "haiku"
    When a task is submitted as "traced" with
      | field                   | value               |
      | header x-correlation-id | trace-1234-abcd     |
    And "traced" has ended
    Then the log carries the correlation id "trace-1234-abcd"
    And the log has the events "admission, placement, dispatch, stream_start, stream_end" of "traced"
    And the story of the log is told as it should be

  @case:orchestrator/story/4 @LL-O-063 @must
  Scenario: No prompt and no generated text is in any log
    Given a chain with the worker "haiku"
    When a task is submitted as "secret" with
      | field  | value                                |
      | prompt | "The password is xyzzy-plugh-7731"   |
    And "secret" has ended
    Then the log does not contain "xyzzy-plugh-7731"

  @case:orchestrator/story/5 @LL-O-064 @must
  Scenario: What the document says is what is served
    Given a chain with the worker "1 ms"
    When GET "/openapi.json" is asked
    Then the document describes "/v2/tasks, /v2/tasks/{id}, /v2/tasks/{id}/events, /v2/tasks/{id}/cancel, /v2/nodes, /v2/nodes/register, /v2/nodes/{id}/heartbeat, /v2/nodes/{id}, /v2/pools/{id}/health, /v2/pools/{id}/drain, /v2/pools/{id}/reload, /v2/pools/{id}/purge, /v2/catalog/models, /v2/catalog/models/{id}, /v2/catalog/models/{id}/verify, /v2/catalog/models/{id}/state, /v2/catalog/availability, /v2/sessions/{id}, /v2/meta/capabilities, /v2/meta/version, /metrics, /health"
    And the document's schema "TaskBody" has the fields of the contract "task_request"
    When a task is submitted as "one"
    And "one" has ended
    And a task is submitted as "wrong" with
      | field | value |
      | ctx   | 0     |
    And GET "/v2/tasks/{task:one}" is asked
    And GET "/v2/nodes" is asked
    And GET "/v2/pools/pool-a/health" is asked
    And GET "/v2/pools/elsewhere/health" is asked
    And GET "/v2/catalog/availability" is asked
    And GET "/v2/meta/capabilities" is asked
    And GET "/v2/meta/version" is asked
    And GET "/health" is asked
    And GET "/v2/sessions/{session:one}" is asked
    And DELETE "/v2/sessions/{session:one}" is asked
    And DELETE "/v2/sessions/{session:one}" is asked
    Then every answer is as the document describes it

  @case:orchestrator/story/6 @LL-O-065 @must
  Scenario: The catalog lists what it was told, and no more
    Given a chain with the worker "1 ms"
    When the body {"id": "alias", "model_ref": "{paced}"} is posted to "/v2/catalog/models"
    Then the answer is 201
    When GET "/v2/catalog/models/alias" is asked
    Then the answer is 200
    When a task is submitted as "by alias" with
      | field     | value   |
      | model_ref | "alias" |
    And "by alias" has ended
    Then the stream "by alias" ended with "end"
    When the body {} is posted to "/v2/catalog/models/alias/verify"
    Then the answer is 202
    And the answer shows:
      | pointer                  | value |
      | /body/verified_available | true  |
    When the body {"state": "retired"} is posted to "/v2/catalog/models/alias/state"
    And a task is submitted as "retired" with
      | field     | value   |
      | model_ref | "alias" |
    Then the answer is 503 with the code "MODEL_NOT_AVAILABLE"
    When DELETE "/v2/catalog/models/alias" is asked
    Then the answer is 204
    When GET "/v2/catalog/models/alias" is asked
    Then the answer is 404 with the code "NOT_FOUND"

  @case:orchestrator/story/7 @LL-O-066 @must
  Scenario: A session is there from its first task to its end
    Given a chain with the worker "1 ms"
    When a task is submitted as "one" with
      | field         | value |
      | tokens_budget | 100   |
    And "one" has ended
    Then soon "/v2/sessions/{session:one}" shows:
      | pointer        | value |
      | /tokens_budget | 100   |
      | /tokens_used   | 8     |
      | /tasks         | 1     |
    When DELETE "/v2/sessions/{session:one}" is asked
    Then the answer is 204
    When GET "/v2/sessions/{session:one}" is asked
    Then the answer is 404 with the code "NOT_FOUND"

  @case:orchestrator/story/8 @LL-O-067 @must
  Scenario: Every series is there, and what happened is counted once
    Given a chain with the worker "1 ms"
    When a task is submitted as "one"
    And "one" has ended
    And a task is submitted as "wrong" with
      | field | value |
      | ctx   | 0     |
    And the metrics are scraped
    Then the scrape carries "tasks_enqueued_total, tasks_started_total, tasks_canceled_total, tasks_rejected_total, placement_decisions_total, tokens_in_total, tokens_out_total, admission_backpressure_events_total, catalog_verifications_total, node_registrations_total, node_heartbeats_total, queue_depth, nodes_online, pools_available, model_state, latency_first_token_ms, latency_decode_ms"
    And "/metrics" shows:
      | pointer                    | value |
      | /tasks_enqueued_total      | 1     |
      | /tasks_started_total       | 1     |
      | /tasks_rejected_total      | 1     |
      | /placement_decisions_total | 1     |
      | /tokens_out_total          | 8     |
      | /nodes_online              | 1     |
      | /pools_available           | 1     |
      | /queue_depth               | 0     |

  @case:orchestrator/story/9 @LL-O-068 @must
  Scenario Outline: A configuration that is wrong is refused at once: <setting>
    Given a pool machine
    When the command "<setting>=<value> llorch orchestratord" is run
    Then the command exits with code 2 and says "<setting>: '<value>' is refused; allowed: <allowed>"

    Examples:
      | setting                                | value        | allowed                                 |
      | ORCHD_ADDR                             | nowhere      | an IP address and a port                |
      | ORCHD_ADMISSION_CAPACITY               | 0            | a whole number above 0, or -1           |
      | ORCHD_ADMISSION_POLICY                 | drop-newest  | reject, drop-lru                        |
      | ORCHESTRATORD_PLACEMENT_STRATEGY       | most-loaded  | round-robin, least-loaded, random       |
      | ORCHESTRATORD_NODE_TIMEOUT_MS          | soon         | a whole number from 1                   |
      | ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS | 0           | a whole number from 1                   |
      | ORCHD_LLAMACPP_URL                     | not-a-url    | a base URL                              |
      | ORCHD_SSE_MICROBATCH                   | perhaps      | false, true                             |
      | ORCHD_DISCONNECT_GRACE_MS              | -1           | a whole number from 0                   |

  @case:orchestrator/story/10 @LL-O-068 @must
  Scenario Outline: So is what would be open to anybody, and a secret is not repeated: <key>
    Given a pool machine
    When the command "<settings> llorch orchestratord" is run
    Then the command exits with code 2 and says "<says>"

    Examples:
      | key         | settings                          | says                             |
      | open-to-all | ORCHD_ADDR=0.0.0.0:0              | without LLORCH_API_TOKEN anybody |
      | short-token | LLORCH_API_TOKEN=short            | LLORCH_API_TOKEN is refused      |
