@built-in @chain
Feature: Who may ask
  With a token set, clients and nodes show it; what is open stays open; a wrong token is told no more than a missing one.

  @case:orchestrator/access/1 @LL-O-050 @must
  Scenario: No token, a wrong one and half of one are refused in the same words; the right one is taken
    Given the setting LLORCH_API_TOKEN is "{token}"
    And a chain with the worker "1 ms"
    When GET "/v2/nodes" is asked with no token
    Then the answer is 401 with the code "UNAUTHORIZED"
    When GET "/v2/nodes" is asked with a wrong token
    Then the answer is 401 with the code "UNAUTHORIZED"
    And the last two answers have the same body
    When GET "/v2/nodes" is asked with half the token
    Then the answer is 401 with the code "UNAUTHORIZED"
    When GET "/v2/nodes" is asked with the token and more
    Then the answer is 401 with the code "UNAUTHORIZED"
    When GET "/v2/nodes" is asked with the token
    Then the answer is 200
    When a task is submitted as "mine"
    And "mine" has ended
    Then the stream "mine" ended with "end"

  @case:orchestrator/access/2 @LL-O-051 @must
  Scenario Outline: <path> asks for no token
    Given the setting LLORCH_API_TOKEN is "{token}"
    And a chain with the worker "1 ms"
    When GET "<path>" is asked with no token
    Then the answer is 200

    Examples:
      | path     |
      | /health  |
      | /metrics |

  @case:orchestrator/access/3 @LL-O-052 @must
  Scenario: A token is rotated without a stop: both are good
    Given the setting LLORCH_API_TOKEN is "{token},{other token}"
    And a chain with the worker "1 ms"
    When GET "/v2/nodes" is asked with the token
    Then the answer is 200
    When GET "/v2/nodes" is asked with the other token
    Then the answer is 200

  @case:orchestrator/access/4 @LL-O-052 @must
  Scenario: A node's token is for nodes, a client's for clients
    Given the setting LLORCH_API_TOKEN is "{token}"
    And the setting LLORCH_NODE_TOKEN is "{other token}"
    And a chain with the worker "1 ms"
    When GET "/v2/nodes" is asked with the other token
    Then the answer is 401 with the code "UNAUTHORIZED"
    When GET "/v2/nodes" is asked with the token
    Then the answer is 200

  @case:orchestrator/access/5 @LL-O-053 @must
  Scenario: No token is in a log
    Given the setting LLORCH_API_TOKEN is "{token}"
    And the setting LLORCH_NODE_TOKEN is "{other token}"
    And a chain with the worker "1 ms"
    When GET "/v2/nodes" is asked with a wrong token
    And a task is submitted as "mine"
    And "mine" has ended
    Then the log does not contain any token
