Feature: Sampling
  The parameters have an effect that a client can see. A stub computes nothing, so it can't show any of it.

  @case:worker/sampling/1 @M0-W-1422 @must
  Scenario: The same seed gives the same text
    Given a worker that computes
    When the same job is run twice with the seed 42
    Then both texts are equal

  @case:worker/sampling/2 @M0-W-1422 @must
  Scenario: The same seed gives the same text after another job
    Given a worker that computes
    When a job is run with the seeds 42, 43, 42
    Then the first and the last text are equal

  @case:worker/sampling/3 @M0-W-1422 @must
  Scenario: Another seed changes the text
    Given a worker that computes
    When a job is run with eight seeds
    Then at least two of the texts differ

  @case:worker/sampling/4 @M0-W-1421 @must
  Scenario: Temperature 0 is greedy, whatever the seed
    Given a worker that computes
    When a job is run at temperature 0 with the seeds 1, 2, 3
    Then all texts are equal

  @case:worker/sampling/5 @M0-W-1421 @must
  Scenario: top_k 1 is greedy at any temperature
    Given a worker that computes
    When a job is run at temperature 0 and again at temperature 1.5 with top_k 1
    Then both texts are equal

  @case:worker/sampling/6 @M0-W-1422 @must
  Scenario: A stop sequence ends the text before it
    Given a worker that computes
    When a job is run at temperature 0 and again with a stop sequence from its text
    Then the second text is the first up to the stop sequence
    And the stream ended with the stop reason "STOP_SEQUENCE"
    And the stream named the stop sequence

  @case:worker/sampling/7 @M0-W-1422 @must
  Scenario: The prompt matters
    Given a worker that computes
    When a job is run at temperature 0 with four different prompts
    Then at least two of the texts differ

  @case:worker/sampling/8 @M0-W-1422 @must @fresh
  Scenario: The same seed gives the same text after a restart
    Given a fresh worker that computes
    When a job is run with the seed 42
    And the worker is started afresh
    And a job is run with the seed 42
    Then both texts are equal
