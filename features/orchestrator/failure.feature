@built-in @chain
Feature: What survives
  Workers, nodes and the orchestrator may be killed at any moment: no admitted task is lost, and no token comes twice.

  @case:orchestrator/failure/1 @LL-O-040 @must
  Scenario: A worker that dies in mid-stream ends its task as WORKER_RESET
    Given a chain with the worker "10 ms"
    When a task is submitted as "cut" with
      | field      | value |
      | max_tokens | 2000  |
    And the first token of "cut" has arrived
    And the worker of node a is killed
    And "cut" has ended
    Then the stream "cut" shows:
      | pointer          | value          |
      | /error/code      | "WORKER_RESET" |
      | /error/retriable | true           |
    And the stream "cut" obeys every rule

  @case:orchestrator/failure/2 @LL-O-041 @must
  Scenario: A worker that dies before the first token costs nothing where another node has the model
    Given a chain of the nodes
      | node | workers |
      | a    | 1500 ms |
      | b    | 1500 ms |
    When a task is submitted as "moved" with
      | field      | value                                            |
      | max_tokens | 2                                                |
      | placement  | {"mode": "prefer", "prefer_pools": ["pool-a"]}  |
    Then soon the task "moved" shows:
      | pointer  | value    |
      | /place/pool_id | "pool-a" |
    When the worker of node a is killed
    And "moved" has ended
    Then the stream "moved" ended with "end"
    And the task "moved" shows:
      | pointer  | value    |
      | /place/pool_id | "pool-b" |

  @case:orchestrator/failure/3 @LL-O-042 @must
  Scenario: A node that dies in mid-stream ends its task, and the other node goes on
    Given a chain of the nodes
      | node | workers |
      | a    | 10 ms   |
      | b    | 10 ms   |
    When a task is submitted as "lost" with
      | field      | value                                     |
      | max_tokens | 2000                                      |
      | placement  | {"mode": "pin", "pin_pool_id": "pool-a"} |
    And a task is submitted as "kept" with
      | field      | value                                     |
      | max_tokens | 200                                       |
      | placement  | {"mode": "pin", "pin_pool_id": "pool-b"} |
    And the first token of "lost" has arrived
    And the first token of "kept" has arrived
    And node a is killed
    And "lost" has ended
    Then the stream "lost" shows:
      | pointer     | value          |
      | /error/code | "WORKER_RESET" |
    When "kept" has ended
    Then the stream "kept" ended with "end"

  @case:orchestrator/failure/4 @LL-O-043 @must
  Scenario Outline: After <how> a running task is told lost, waiting ones run, finished ones are still there
    Given a chain with the worker "10 ms"
    When a task is submitted as "finished"
    And "finished" has ended
    And a task is submitted as "running" with
      | field      | value |
      | max_tokens | 2000  |
    And the first token of "running" has arrived
    And tasks are submitted as "waiting one, waiting two"
    And the orchestrator <how>
    And the orchestrator starts again
    And the stream of "running" is read from its beginning as "running again"
    And "running again" has ended
    Then the stream "running again" shows:
      | pointer     | value          |
      | /error/code | "WORKER_RESET" |
    When the stream of "waiting one" is read from its beginning as "one again"
    And the stream of "waiting two" is read from its beginning as "two again"
    And "one again, two again" have ended
    Then the stream "one again" ended with "end"
    And the stream "two again" ended with "end"
    When the stream of "finished" is read from its beginning as "finished again"
    And "finished again" has ended
    Then the texts of "finished, finished again" are equal

    Examples:
      | how       |
      | is killed |

  @case:orchestrator/failure/6 @LL-O-043 @must
  Scenario: An orchestrator that is told to stop lets its task end, and keeps what waits
    Given a chain with the worker "10 ms"
    When a task is submitted as "running" with
      | field      | value |
      | max_tokens | 80    |
    And the first token of "running" has arrived
    And a task is submitted as "waiting"
    And the orchestrator is told to stop
    And the orchestrator starts again
    And the stream of "running" is read from its beginning as "running again"
    And the stream of "waiting" is read from its beginning as "waiting again"
    And "running again, waiting again" have ended
    Then the stream "running again" shows:
      | pointer         | value |
      | /end/tokens_out | 80    |
    And the stream "waiting again" ended with "end"

  @case:orchestrator/failure/7 @LL-O-045 @must
  Scenario: A strict task that has started starts nowhere else
    Given a chain of the nodes
      | node | workers |
      | a    | 1500 ms |
      | b    | 1500 ms |
    When a task is submitted as "strict" with
      | field       | value                                           |
      | determinism | "strict"                                        |
      | placement   | {"mode": "prefer", "prefer_pools": ["pool-a"]} |
    Then soon the task "strict" shows:
      | pointer        | value    |
      | /started_at    | a text   |
      | /place/pool_id | "pool-a" |
    When the worker of node a is killed
    And "strict" has ended
    Then the stream "strict" shows:
      | pointer     | value          |
      | /error/code | "WORKER_RESET" |
      | /tokens     | 0              |
    And the task "strict" shows:
      | pointer   | value |
      | /attempts | 1     |

  @case:orchestrator/failure/8 @LL-O-046 @must
  Scenario: A worker that decodes for too long is said to
    Given a chain with the worker "20 ms for 1 s"
    When a task is submitted as "endless" with
      | field      | value |
      | max_tokens | 2000  |
    And "endless" has ended
    Then the stream "endless" shows:
      | pointer     | value            |
      | /error/code | "DECODE_TIMEOUT" |

  @case:orchestrator/failure/9 @LL-O-042 @must
  Scenario: A node that falls silent in mid-stream is not waited for for ever
    Given the setting ORCHESTRATORD_NODE_TIMEOUT_MS is "1200"
    And a chain with the worker "10 ms"
    When a task is submitted as "lost" with
      | field      | value |
      | max_tokens | 2000  |
    And the first token of "lost" has arrived
    And node a freezes
    And "lost" has ended
    Then the stream "lost" shows:
      | pointer     | value          |
      | /error/code | "WORKER_RESET" |
    When node a wakes
    Then soon "/v2/pools/pool-a/health" shows:
      | pointer     | value |
      | /slots_free | 1     |
      | /leases     | 0     |

  @case:orchestrator/failure/5 @LL-O-044 @must @serial
  Scenario Outline: <victim> is killed again and again under load
    Given the setting ORCHD_ADMISSION_CAPACITY is "64"
    And the setting POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS of the nodes is "1"
    And a chain of the nodes
      | node | workers    |
      | a    | 2 ms, 2 ms |
      | b    | 2 ms, 2 ms |
    When <victim> is killed <times> times under load
    Then no task is lost and no token repeated
    When the chain is told to stop
    Then no process is left behind

    Examples:
      | victim           | times |
      | the orchestrator | 6     |
      | a pool manager   | 3     |
      | a worker         | 3     |

  @case:orchestrator/failure/10 @LL-O-044 @must @serial @lane:storm
  Scenario Outline: A hundred kills under load, <round> of 10
    Given the setting ORCHD_ADMISSION_CAPACITY is "64"
    And a chain of the nodes
      | node | workers    |
      | a    | 2 ms, 2 ms |
      | b    | 2 ms, 2 ms |
    When somebody is killed 10 times under load
    Then no task is lost and no token repeated
    When the chain is told to stop
    Then no process is left behind

    Examples:
      | round |
      | 1     |
      | 2     |
      | 3     |
      | 4     |
      | 5     |
      | 6     |
      | 7     |
      | 8     |
      | 9     |
      | 10    |
