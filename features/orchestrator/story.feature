@built-in
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
    When GET "/openapi.json" is asked
    Then the document describes "/v2/tasks, /v2/tasks/{id}, /v2/tasks/{id}/events, /v2/tasks/{id}/cancel, /v2/nodes/register, /v2/nodes/{id}/heartbeat, /v2/nodes, /v2/pools/{id}/health, /v2/sessions/{id}, /metrics"

  @case:orchestrator/story/7 @LL-O-066 @must
  Scenario: A session that is deleted is gone
    Given a chain with the worker "1 ms"
    When a task is submitted as "one"
    And "one" has ended
    And GET "/v2/sessions/{session:one}" is asked
    Then the answer is 200
    When DELETE "/v2/sessions/{session:one}" is asked
    Then the answer is 204
    When GET "/v2/sessions/{session:one}" is asked
    Then the answer is 404 with the code "NOT_FOUND"

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
    When DELETE "/v2/catalog/models/alias" is asked
    Then the answer is 204
    When GET "/v2/catalog/models/alias" is asked
    Then the answer is 404 with the code "NOT_FOUND"
