Feature: Shutdown
  SIGTERM, SIGINT and POST /shutdown: no new work, the running job ends, the worker leaves with exit code 0.

  @case:worker/shutdown/1 @M0-W-1630 @must @fresh
  Scenario Outline: An idle worker leaves with exit code 0: <way>
    Given a fresh worker
    When the worker is told to stop by <way>
    Then the worker exits with code 0 within 5 seconds

    Examples:
      | key      | way            |
      | sigterm  | SIGTERM        |
      | sigint   | SIGINT         |
      | shutdown | POST /shutdown |

  @case:worker/shutdown/2 @LL-W-150 @must @fresh
  Scenario: POST /shutdown is acknowledged
    Given a fresh worker
    When the worker is told to stop by POST /shutdown
    Then the answer is 202

  @case:worker/shutdown/3 @LL-W-151 @must @fresh
  Scenario: The running job ends in full before the worker leaves
    Given a fresh worker with long jobs
    When a 1-second job is sent as "last"
    And the first token of "last" has arrived
    And the worker is told to stop by SIGTERM
    And "last" has ended
    Then the stream "last" obeys every rule
    And the stream "last" ended with "end"
    And the worker exits with code 0 within 10 seconds

  @case:worker/shutdown/4 @LL-W-152 @must @fresh
  Scenario: A draining worker takes no new job
    Given a fresh worker with long jobs
    When a long job is sent as "last"
    And the first token of "last" has arrived
    And the worker is told to stop by SIGTERM
    And a job is sent while the worker drains
    Then the answer is 503 with the code "DRAINING"

  @case:worker/shutdown/5 @LL-W-153 @must @fresh
  Scenario: A waiting job ends as cancelled
    Given a fresh worker with long jobs
    When a long job is sent as "running"
    And the first token of "running" has arrived
    And a short job is sent as "waiting"
    And the worker is told to stop by SIGTERM
    Then "waiting" ends as a job cancelled before its start

  @case:worker/shutdown/6 @LL-W-154 @must @fresh
  Scenario: A second signal stops at once
    Given a fresh worker with long jobs
    When a long job is sent as "last"
    And the first token of "last" has arrived
    And the worker is told to stop by SIGTERM
    And the worker has begun to drain
    And the worker is told to stop by SIGTERM
    Then the worker exits with code 130 within 2 seconds

  @case:worker/shutdown/7 @LL-W-155 @ours @fresh
  Scenario: A job that outlives the deadline is ended by it
    Given a fresh worker with long jobs, started with "--drain-sec 1"
    When a long job is sent as "endless"
    And the first token of "endless" has arrived
    And the worker is told to stop by SIGTERM
    Then the worker exits with code 0 within 5 seconds
