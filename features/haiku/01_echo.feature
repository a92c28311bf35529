@rung:1
Feature: Rung 1, echo
  The haiku holds the word that its prompt asks for. Beats: canned text, random words.

  @case:haiku/1/1 @LL-R-1 @must
  Scenario: Every event, count and metric of a haiku run is right
    Given a worker
    When the haiku is asked for, as a client does
    Then the pipeline of the haiku holds

  @case:haiku/1/2 @LL-R-1 @ours
  Scenario: The minute's word stands in it once, as a word
    Given a worker
    When the haiku is asked for, as a client does
    Then the word rule of the haiku holds
