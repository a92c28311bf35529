Feature: Cancel
  A cancelled job ends at once, its stream says so, and the next job starts clean. A client that goes away is a cancel.

  @case:worker/cancel/1 @M0-W-1330 @must
  Scenario: A running job is cancelled
    Given a worker with long jobs
    When a long job is sent as "victim"
    And the first token of "victim" has arrived
    And the job "victim" is cancelled
    Then the answer is 202
    And the stream "victim" ends with the error "CANCELLED" within 5 seconds of the cancel
    And the stream "victim" obeys every rule

  @case:worker/cancel/2 @SYS-6.3.5 @must
  Scenario: No token follows a cancel
    Given a worker with long jobs
    When a long job is sent as "victim"
    And the first token of "victim" has arrived
    And the job "victim" is cancelled
    And "victim" has ended
    Then the tokens of "victim" stopped with the cancel

  @case:worker/cancel/3 @M0-W-1330 @must @quick
  Scenario: Cancelling a job that nobody knows is no mistake
    Given a worker
    When the job id "nobody-knows-me" is cancelled
    Then the answer is 202

  @case:worker/cancel/4 @M0-W-1330 @must @quick
  Scenario: Cancelling a job that has ended is no mistake
    Given a worker
    When a job is sent as "done"
    And "done" has ended
    And the job "done" is cancelled
    Then the answer is 202

  @case:worker/cancel/5 @M0-W-1330 @must
  Scenario: Cancelling twice is no mistake
    Given a worker with long jobs
    When a long job is sent as "victim"
    And the first token of "victim" has arrived
    And the job "victim" is cancelled
    And the job "victim" is cancelled
    Then the answer is 202
    And the stream "victim" obeys "terminal-once"

  @case:worker/cancel/6 @LL-W-140 @must
  Scenario: The next job starts clean
    Given a worker with long jobs
    When a long job is sent as "victim"
    And the first token of "victim" has arrived
    And the job "victim" is cancelled
    And a short job is sent as "next"
    And "next" has ended
    Then the stream "next" obeys every rule

  @case:worker/cancel/7 @LL-W-141 @must
  Scenario: A waiting job is cancelled before it starts
    Given a worker with long jobs
    When a long job is sent as "running"
    And the first token of "running" has arrived
    And a short job is sent as "waiting"
    And the job "waiting" is cancelled
    Then "waiting" ends as a job cancelled before its start
    And "running" goes on

  @case:worker/cancel/8 @M0-W-1611 @must
  Scenario: A client that goes away is a cancel
    Given a worker with long jobs
    When a long job is sent as "gone"
    And the first token of "gone" has arrived
    And the client of "gone" disconnects
    And a short job is sent as "next"
    Then "next" starts within 5 seconds of the disconnect
    And the stream "next" obeys every rule

  @case:worker/cancel/9 @M0-W-1611 @must
  Scenario: A client that goes away while its job waits frees the place
    Given a worker with long jobs
    When a long job is sent as "running"
    And the first token of "running" has arrived
    And a short job is sent as "waiting"
    And the client of "waiting" disconnects
    And a short job is sent as "next"
    And the job "running" is cancelled
    And "next" has ended
    Then the stream "next" obeys every rule
    And the log shows no start of "waiting"

  @case:worker/cancel/10 @LL-W-142 @must
  Scenario: A cancel ends the job that it names and no other
    Given a worker with long jobs
    When a long job is sent as "bystander"
    And the first token of "bystander" has arrived
    And the job id "nobody-knows-me" is cancelled
    Then "bystander" goes on

  @case:worker/cancel/11 @LL-W-143 @must @quick
  Scenario: A cancel that comes before its job is forgotten
    Given a worker
    When the job id "cancelled-too-early" is cancelled
    And a job is sent as "later" with
      | field  | value                 |
      | job_id | "cancelled-too-early" |
    And "later" has ended
    Then the stream "later" ended with "end"
