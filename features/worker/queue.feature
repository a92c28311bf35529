Feature: One job at a time, the others in order
  One job runs; a bounded number waits, its streams open and silent; beyond it a clear refusal. None is lost.

  @case:worker/queue/1 @LL-W-130 @must
  Scenario: A second job waits until the first has ended
    Given a worker with long jobs
    When a 1-second job is sent as "first"
    And the first token of "first" has arrived
    And a short job is sent as "second"
    And "second" has ended
    Then "second" started after "first" had ended
    And the stream "first" obeys every rule
    And the stream "second" obeys every rule

  @case:worker/queue/2 @LL-W-130 @must
  Scenario: Jobs that wait are served in the order they came
    Given a worker with long jobs
    When a 1-second job is sent as "first"
    And the first token of "first" has arrived
    And short jobs are sent as "second, third, fourth"
    And "second, third, fourth" have ended
    Then the jobs started in the order "first, second, third, fourth"

  @case:worker/queue/3 @LL-W-131 @must
  Scenario: A waiting job's stream is silent until it starts
    Given a worker with long jobs
    When a 1-second job is sent as "first"
    And the first token of "first" has arrived
    And a short job is sent as "second"
    And "first" has ended
    And "second" has ended
    Then the stream "second" carried no event before "first" ended

  @case:worker/queue/4 @LL-W-132 @must
  Scenario: Two hundred jobs at once are queued or refused by the rules, none lost
    Given a worker
    When 200 jobs are sent at once
    Then each of them has ended by the rules or was refused with 503 "BUSY" and Retry-After
    And the worker answers

  @case:worker/queue/5 @LL-W-133 @must
  Scenario: A full queue refuses with BUSY and says when to come back
    Given a worker with long jobs
    When a long job is sent as "running"
    And the first token of "running" has arrived
    And jobs are sent until one is refused
    Then the answer is 503 with the code "BUSY"
    And the answer's header "retry-after" is a time to come back

  @case:worker/queue/6 @LL-W-134 @must
  Scenario: A job id that is running is refused a second time
    Given a worker with long jobs
    When a long job is sent as "twin"
    And the first token of "twin" has arrived
    And the job "twin" is sent a second time
    Then the answer is 409 with the code "DUPLICATE_JOB"
    And "twin" goes on

  @case:worker/queue/7 @LL-W-134 @must
  Scenario: A job id that waits is refused a second time
    Given a worker with long jobs
    When a long job is sent as "running"
    And the first token of "running" has arrived
    And a short job is sent as "waiting"
    And the job "waiting" is sent a second time
    Then the answer is 409 with the code "DUPLICATE_JOB"
