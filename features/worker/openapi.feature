Feature: The published contract
  What the worker publishes about itself and what it is held against are two texts by two hands; here they meet.

  @case:worker/openapi/1 @LL-W-200 @should @quick
  Scenario: The OpenAPI document is served
    Given a worker
    When GET "/openapi.json" is asked
    Then the answer is 200
    And the answer is JSON
    And the document describes "/execute, /cancel, /health, /metrics, /shutdown"

  @case:worker/openapi/2 @LL-W-201 @ours @built-in @quick
  Scenario Outline: The document and the contract name the same fields: <message>
    Given a worker
    When GET "/openapi.json" is asked
    Then the document's schema "<schema>" has the fields of the contract "<message>"

    Examples:
      | message         | schema          |
      | health          | Health          |
      | execute_request | ExecuteRequest  |
      | started         | Started         |
      | token           | Token           |
      | metrics         | Metrics         |
      | end             | End             |
      | error_event     | ErrorEvent      |
      | error_body      | InvalidRequest  |
      | ready_callback  | ReadyCallback   |
