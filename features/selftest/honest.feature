@selftest
Feature: A right worker passes
  The scripted worker without a mistake passes every case that can be asked of it: only then does it mean something that
  a case catches a mistake.

  @case:selftest/honest @LL-S-003 @must
  Scenario Outline: The honest worker passes <cases>
    Given the scripted worker that is honest
    When the cases "<cases>" judge it
    Then it is passed

    Examples:
      | cases              |
      | worker/execute     |
      | worker/callback    |
      | worker/cancel      |
      | worker/queue       |
      | worker/shutdown    |
      | worker/start       |
      | worker/sampling    |
      | worker/health      |
      | worker/validation  |
      | worker/access      |
      | worker/correlation |
      | worker/metrics     |
      | worker/logs        |
      | worker/openapi/1   |
