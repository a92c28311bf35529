@rung:6 @serial
Feature: Rung 6, work law
  Processor time grows with prompt and output, on a model whose steps are long enough to measure; a repeated prompt costs its
  decoding again. Beats: caches of known prompts.

  @case:haiku/6/1 @LL-R-6 @must
  Scenario: More work takes more work
    Given a worker on a model whose steps take milliseconds
    Then its work grows with prompt and output

  @case:haiku/6/2 @LL-R-6 @must
  Scenario: Nothing is answered from memory
    Given a worker on a model whose steps take milliseconds
    Then a repeated prompt costs what a fresh one does
