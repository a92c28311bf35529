Feature: Access
  With a token set, work and control need it; health and metrics stay open. A wrong token and none look the same.

  @case:worker/access/1 @LL-W-160 @must @fresh
  Scenario Outline: A call without the token is refused: <path>
    Given a fresh worker with an API token
    When POST "<path>" is asked with <credentials>
    Then the answer is 401 with the code "UNAUTHORIZED"

    Examples:
      | key              | path      | credentials        |
      | execute-none     | /execute  | no token           |
      | execute-wrong    | /execute  | a wrong token      |
      | execute-prefix   | /execute  | half the token     |
      | execute-longer   | /execute  | the token and more |
      | cancel-none      | /cancel   | no token           |
      | cancel-wrong     | /cancel   | a wrong token      |
      | shutdown-none    | /shutdown | no token           |
      | shutdown-wrong   | /shutdown | a wrong token      |

  @case:worker/access/2 @LL-W-160 @must @fresh
  Scenario: The right token opens
    Given a fresh worker with an API token
    When a job is sent with the token
    Then the stream obeys every rule

  @case:worker/access/3 @LL-W-161 @must @fresh
  Scenario: A missing and a wrong token get the same body
    Given a fresh worker with an API token
    When POST "/execute" is asked with no token
    And POST "/execute" is asked with a wrong token
    Then the last two answers have the same body

  @case:worker/access/4 @LL-W-162 @must @fresh
  Scenario Outline: <path> stays open
    Given a fresh worker with an API token
    When GET "<path>" is asked
    Then the answer is 200

    Examples:
      | key     | path     |
      | health  | /health  |
      | metrics | /metrics |

  @case:worker/access/5 @LL-W-163 @must @fresh
  Scenario: The token is in no log
    Given a fresh worker with an API token
    When a job is sent with the token
    And POST "/execute" is asked with a wrong token
    Then the log does not contain any token

  @case:worker/access/6 @LL-W-164 @must @fresh
  Scenario: An address beyond this machine is refused without a token
    When the worker is started with "--bind 0.0.0.0"
    Then the worker exits with a code other than 0 within 20 seconds
