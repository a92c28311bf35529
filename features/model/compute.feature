@built-in
Feature: A worker that really computes
  Threads, queues and full contexts change nothing about a text; a cancelled computation stops, and memory is what it is said to be.

  @case:model/compute/1 @LL-M-010 @ours
  Scenario: Two threads write what one writes
    Given a recipe model, started with "--threads 1" and with "--threads 2"
    When each is asked for the same texts
    Then both wrote the same, token by token

  @case:model/compute/2 @LL-M-011 @ours
  Scenario: A job gives the same text alone and among waiting jobs
    Given a worker on the recipe model "tiny" with seed 3
    Then a job gives the same text alone and among waiting jobs

  @case:model/compute/3 @LL-M-012 @ours
  Scenario Outline: A full context ends a job as the limit does: <key>
    Given a worker on the recipe model "odd" with seed 1
    When a job is sent with
      | field      | value              |
      | prompt     | (<length> times "a") |
      | max_tokens | 2048               |
    Then the job ended for "MAX_TOKENS" after <tokens> tokens
    And the stream obeys every rule

    Examples:
      | key            | length | tokens |
      | fills-exactly  | 40     | 1      |
      | one-left       | 39     | 2      |
      | three-left     | 37     | 4      |

  @case:model/compute/4 @LL-M-013 @ours
  Scenario: A prompt longer than the context is refused
    Given a worker on the recipe model "odd" with seed 1
    When a job is sent with
      | field  | value          |
      | prompt | (41 times "a") |
    Then the answer is 400 with the code "INVALID_REQUEST"
    And the answer lists exactly the fields "prompt"

  @case:model/compute/5 @LL-M-014 @ours
  Scenario: A computation that is cancelled ends within 5 seconds, and the next job starts clean
    Given a worker on the recipe model "seconds" with seed 1
    When a long job is sent as "victim"
    And the first token of "victim" has arrived
    And the job "victim" is cancelled
    Then the stream "victim" ends with the error "CANCELLED" within 5 seconds of the cancel
    And the stream "victim" obeys "no-token-after-terminal"
    When a short job is sent as "next"
    And "next" has ended
    Then the stream "next" obeys every rule

  @case:model/compute/6 @LL-M-015 @ours
  Scenario: A cancelled computation uses the processor no longer
    Given a worker on the recipe model "seconds" with seed 1
    When a long job is sent as "victim"
    And the first token of "victim" has arrived
    And the job "victim" is cancelled
    Then the worker rests after at most 100 milliseconds of work

  @case:model/compute/7 @LL-M-015 @ours
  Scenario: A computation whose client has gone uses the processor no longer
    Given a worker on the recipe model "seconds" with seed 1
    When a long job is sent as "gone"
    And the first token of "gone" has arrived
    And the client of "gone" disconnects
    Then the worker rests after at most 100 milliseconds of work

  @case:model/compute/8 @LL-M-016 @ours
  Scenario: A client that goes away during a computation frees the worker
    Given a worker on the recipe model "seconds" with seed 1
    When a long job is sent as "gone"
    And the first token of "gone" has arrived
    And the client of "gone" disconnects
    And a short job is sent as "next"
    Then "next" starts within 5 seconds of the disconnect
    And the stream "next" obeys every rule

  @case:model/compute/9 @LL-M-017 @ours @fresh
  Scenario: Memory is what it is said to be
    Given a worker on the recipe model "seconds" with seed 1
    Then its memory is accounted for within 15 percent
    And its memory is resident within 15 percent
