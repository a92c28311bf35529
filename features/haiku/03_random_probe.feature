@rung:3
Feature: Rung 3, random probe
  The prompt is drawn after the worker has started; the tensors that it captures on the way to its text are the reference's.
  Beats: whoever has the text from elsewhere.

  @case:haiku/3/1 @LL-R-3 @must
  Scenario: Tensors that nobody could foresee are the reference's
    Given a worker that captures, on a model that the harness knows
    When it is asked for a prompt that is drawn now
    Then its tensors are the reference's at every checkpoint
