@rung:4
Feature: Rung 4, fresh weights
  A model file that never existed is written, the worker is started on it, and it writes what the reference computed before.
  Beats: built-in weights, fallbacks, weights with fewer bits than the file's.

  @case:haiku/4/1 @LL-R-4 @must @api
  Scenario: Weights that never existed are computed with
    Given a worker on weights that never existed
    Then it writes what the reference computed before it was started

  @case:haiku/4/2 @LL-R-4 @must
  Scenario: Without its weights a worker does not serve
    When the worker is started on half of a model file
    Then the worker exits with a code other than 0 within 60 seconds

  @case:haiku/4/3 @LL-R-4 @must
  Scenario: Where two tokens are nearly as likely, the right one is taken
    Given a worker on weights that never existed
    Then where two tokens are nearly as likely it takes the right one
