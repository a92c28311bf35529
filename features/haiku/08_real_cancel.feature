@rung:8 @serial
Feature: Rung 8, real cancel
  After a cancel or a disconnect the processor rests, and the next job starts at once. Beats: a cancel that only answers.

  @case:haiku/8/1 @LL-R-8 @must
  Scenario: A cancelled computation stops, and the next starts at once
    Given a worker on a model whose steps take milliseconds
    When a long job is sent as "victim"
    And the first token of "victim" has arrived
    And the job "victim" is cancelled
    Then the worker rests after at most 100 milliseconds of work
    And the next job starts within 500 milliseconds

  @case:haiku/8/2 @LL-R-8 @must
  Scenario: A computation whose client has gone stops, and the next starts at once
    Given a worker on a model whose steps take milliseconds
    When a long job is sent as "gone"
    And the first token of "gone" has arrived
    And the client of "gone" disconnects
    Then the worker rests after at most 100 milliseconds of work
    And the next job starts within 500 milliseconds
