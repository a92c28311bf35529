Feature: Logs
  JSON lines with flat keys on standard output, and no text of anybody's prompt in them.

  @case:worker/logs/1 @LL-W-190 @should @fresh
  Scenario: Each line of the log is flat JSON
    Given a fresh worker
    When a job is sent
    And the stream has ended
    And the worker is told to stop by SIGTERM
    Then each line of the log matches the contract "log_line"

  @case:worker/logs/2 @LL-W-191 @must @fresh
  Scenario: No prompt and no generated text is in the log
    Given a fresh worker
    When a job is sent with
      | field  | value                                 |
      | prompt | "xylophone quagmire verdigris"        |
    And the stream has ended
    And the worker is told to stop by SIGTERM
    Then the log does not contain "quagmire"
    And the log does not contain the generated text

  @case:worker/logs/3 @LL-W-191 @must @fresh
  Scenario: A refused prompt is not in the log either
    Given a fresh worker
    When a job is sent with
      | field       | value                          |
      | prompt      | "xylophone quagmire verdigris" |
      | temperature | 9.5                            |
    And the worker is told to stop by SIGTERM
    Then the log does not contain "quagmire"

  @case:worker/logs/4 @LL-W-192 @should @fresh
  Scenario: A job's start and end are in the log under its id
    Given a fresh worker
    When a job is sent as "logged"
    And "logged" has ended
    And the worker is told to stop by SIGTERM
    Then the log has the events "execute_start, execute_end" of "logged"
