Feature: An engine whose client has gone
  These APIs have no cancel: a client hangs up. That the work has ended is seen at the engine's own slots; the
  limit is the contract's.

  @case:api/cancel/1 @LL-A-020 @api @must @rung:8 @serial
  Scenario: The slot of a streamed answer rests when its client has gone
    Given an engine, on a model whose steps take milliseconds where it can be given one
    When the client of a streamed answer goes away while a slot works
    Then no slot works 5000 milliseconds later

  @case:api/cancel/2 @LL-A-020 @api @should @serial
  Scenario: The slot of an answer that comes whole rests as soon
    Given an engine, on a model whose steps take milliseconds where it can be given one
    When the client of a whole answer goes away while a slot works
    Then no slot works 1000 milliseconds later

  @case:api/cancel/3 @LL-A-021 @api @must
  Scenario: Jobs that run or wait together have the texts that they have alone
    Given a worker
    Then a job gives the same text alone and among waiting jobs
