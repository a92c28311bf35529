@rung:2
Feature: Rung 2, known answer
  Unseen prompts, and the texts that the same model file gives in the f64 reference, token by token. Beats: templates, replays,
  another model, a smaller one, missing layers, answers that begin right, memories that take one prompt for another, a
  temperature or a seed without its whole effect.

  @case:haiku/2/1 @LL-R-2 @must @api
  Scenario: Greedy texts of unseen prompts are the reference's
    Given a worker on a model that the harness knows
    Then its greedy texts are the reference's

  @case:haiku/2/2 @LL-R-2 @must @api
  Scenario: What is drawn at a temperature is drawn as the model says
    Given a worker on a model that the harness knows
    Then it draws the first token as often as the reference says

  @case:haiku/2/3 @LL-R-2 @must @api
  Scenario: A seed is a seed
    Given a worker on a model that the harness knows
    Then the same seed writes the same text

  @case:haiku/2/4 @LL-R-2 @must
  Scenario: Whole texts are drawn as the model says, each seed another
    Given a worker on a model that the harness knows
    Then what it draws is as surprising as the reference says
