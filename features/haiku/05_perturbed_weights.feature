@rung:5
Feature: Rung 5, perturbed weights
  A few weights of a known model are moved by seed; the text moves as the reference predicts.

  @case:haiku/5/1 @LL-R-5 @must
  Scenario: A few weights moved move the text
    Given a worker on a known model with a few weights moved
    Then it writes what the reference computed before it was started
