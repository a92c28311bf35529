@rung:7 @serial
Feature: Rung 7, honest stream
  Tokens arrive spread over the generation; events, tokens_out, the counter and the clock agree. Beats: bursts, invented
  counts and times.

  @case:haiku/7/1 @LL-R-7 @must @api:llamacpp
  Scenario: Tokens arrive when they are computed
    Given a worker on a model whose steps take milliseconds
    When a job is run and counted
    Then its arrivals are honest
    And its times are honest

  @case:haiku/7/2 @LL-R-7 @must
  Scenario: Everything that counts tokens counts the same
    Given a worker on a model whose steps take milliseconds
    When a job is run and counted
    Then its counts are honest
    And while nobody asks nothing is counted
