Feature: Correlation
  One id follows a request through every daemon: the caller's, or a fresh one.

  @case:worker/correlation/1 @LL-W-170 @must @quick
  Scenario: A caller's correlation id comes back with the stream
    Given a worker
    When a job is sent with the header "X-Correlation-Id: 3f2a-llorch-77"
    Then the answer's header "x-correlation-id" is "3f2a-llorch-77"

  @case:worker/correlation/2 @LL-W-170 @must @quick
  Scenario: Without one, a fresh id is given
    Given a worker
    When a job is sent
    Then the answer's header "x-correlation-id" is a fresh UUID

  @case:worker/correlation/3 @LL-W-171 @must @quick
  Scenario Outline: An id that is not one is replaced: <key>
    Given a worker
    When a job is sent with the header "X-Correlation-Id: <id>"
    Then the answer's header "x-correlation-id" is a fresh UUID

    Examples:
      | key        | id                                                                  |
      | blank      | two words                                                           |
      | markup     | <script>                                                            |
      | long       | aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa   |
      | underscore | snake_case                                                          |

  @case:worker/correlation/4 @LL-W-172 @must @fresh
  Scenario: The id is in the log of the job
    Given a fresh worker
    When a job is sent with the header "X-Correlation-Id: find-me-in-the-log"
    And the stream has ended
    Then the log carries the correlation id "find-me-in-the-log"

  @case:worker/correlation/5 @LL-W-173 @should @quick
  Scenario: A refusal carries an id too
    Given a worker
    When the body {} is posted to "/execute" with the header "X-Correlation-Id: refused-1"
    Then the answer's header "x-correlation-id" is "refused-1"

  @case:worker/correlation/6 @LL-W-170 @must @quick
  Scenario: Each request without an id gets another one
    Given a worker
    When a job is sent
    And a job is sent
    Then each job's header "x-correlation-id" is another
