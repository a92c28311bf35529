@built-in @chain @lane:schemathesis
Feature: What the daemons' documents say
  Schemathesis reads a daemon's OpenAPI document and nothing else, asks what that allows and what it forbids, and holds every
  answer against it. What no document can say is named where the fuzzer is started.

  @case:orchestrator/described/1 @LL-O-100 @must
  Scenario Outline: A fuzzer finds nothing in what is documented: <whom>
    Given a chain with the worker "haiku"
    Then a fuzzer that knows only its document finds nothing in <whom>

    Examples:
      | whom                 |
      | the orchestrator     |
      | node a               |
      | the worker of node a |
