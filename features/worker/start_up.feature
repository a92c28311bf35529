Feature: Start-up
  Server first: load, listen, answer, then tell the pool manager. What can't start says why and leaves.

  @case:worker/start/1 @M0-W-1120 @must @fresh
  Scenario: The worker is ready within a minute
    Given a fresh worker
    When GET "/health" is asked
    Then the answer is 200

  @case:worker/start/2 @LL-W-001 @must @fresh
  Scenario Outline: A bad flag ends with exit code 2 and the usage: <key>
    When the worker is started with "<flags>"
    Then the worker exits with code 2 within 20 seconds
    And its error output mentions "<mention>"

    Examples:
      | key                 | flags                | mention   |
      | unknown-flag        | --no-such-flag       | no-such   |
      | port-no-number      | --port eighty        | port      |
      | port-out-of-range   | --port 70000         | port      |
      | worker-id-character | --worker-id a/b      | worker-id |
      | worker-id-empty     | --worker-id=         | worker-id |

  @case:worker/start/3 @LL-W-002 @must @fresh
  Scenario: A model that can't be loaded ends with exit code 1
    When the worker is started on a model file that does not exist
    Then the worker exits with code 1 within 20 seconds
    And its output names the model file

  @case:worker/start/4 @LL-W-003 @must @fresh
  Scenario: A port that is taken ends with exit code 1
    When the worker is started on a port that is taken
    Then the worker exits with code 1 within 20 seconds

  @case:worker/start/5 @LL-W-004 @should @fresh
  Scenario: The messages of the start come in their order
    Given a pool manager that accepts
    And a fresh worker that calls it back
    Then the log carries in this order
      | message                            |
      | worker starting                    |
      | Loading model...                   |
      | Model loaded                       |
      | Worker ready, starting HTTP server |
      | Callback sent to pool-managerd     |

  @case:worker/start/6 @LL-W-005 @should @fresh
  Scenario: Without a pool manager the log says so
    Given a fresh worker
    Then the log carries in this order
      | message                          |
      | Standalone mode: no pool manager |

  @case:worker/start/7 @LL-W-006 @should @fresh
  Scenario: Port 0 chooses a free port and says which
    When the worker is started with "--port 0"
    Then the log names a port on which the worker answers

  @case:worker/start/8 @LL-W-007 @ours @fresh
  Scenario Outline: A flag beats the environment, which beats the file: <key>
    When the worker is started with the port from the <sources>
    Then the worker answers on the port from the <winner>

    Examples:
      | key              | sources                          | winner      |
      | flag-over-all    | flag and the environment and the file | flag        |
      | environment-over | environment and the file         | environment |
      | file-alone       | file                             | file        |

  @case:worker/start/9 @LL-W-008 @must @fresh
  Scenario: The worker serves one job after the other until it is told to stop
    Given a fresh worker
    When a job is sent as "first"
    And "first" has ended
    And a job is sent as "second"
    And "second" has ended
    And the worker is told to stop by SIGTERM
    Then the stream "first" obeys every rule
    And the stream "second" obeys every rule
    And the worker exits with code 0 within 5 seconds
