@built-in
Feature: Nodes and placement
  Nodes register and send heartbeats; a task goes where its model is, and a pin is honoured or refused.

  @case:orchestrator/placement/1 @LL-O-030 @must
  Scenario: Of two nodes the one with the model gets the task
    Given a chain of the nodes
      | node | workers |
      | a    | 1 ms    |
      | b    | haiku   |
    When a task is submitted as "text" with
      | field     | value     |
      | model_ref | "{haiku}" |
    And "text" has ended
    Then the task "text" shows:
      | pointer  | value    |
      | /place/pool_id | "pool-b" |
      | /place/node_id | "b"      |

  @case:orchestrator/placement/2 @LL-O-031 @must
  Scenario Outline: A pin to <pool> is honoured
    Given a chain of the nodes
      | node | workers |
      | a    | 1 ms    |
      | b    | 1 ms    |
    When a task is submitted as "pinned" with
      | field     | value                                     |
      | placement | {"mode": "pin", "pin_pool_id": "<pool>"} |
    And "pinned" has ended
    Then the task "pinned" shows:
      | pointer  | value    |
      | /place/pool_id | "<pool>" |

    Examples:
      | pool   |
      | pool-a |
      | pool-b |

  @case:orchestrator/placement/3 @LL-O-031 @must
  Scenario Outline: A pin that cannot be honoured is refused: <why>
    Given a chain of the nodes
      | node | workers |
      | a    | 1 ms    |
      | b    | haiku   |
    When a task is submitted as "pinned" with
      | field     | value                                     |
      | placement | {"mode": "pin", "pin_pool_id": "<pool>"} |
    Then the answer is 400 or 503 with the code "<code>"

    Examples:
      | why           | pool      | code           |
      | no such pool  | elsewhere | INVALID_PARAMS |
      | another model | pool-b    | INVALID_PARAMS |

  @case:orchestrator/placement/4 @LL-O-032 @must
  Scenario: A pool that is to be avoided is avoided
    Given a chain of the nodes
      | node | workers |
      | a    | 1 ms    |
      | b    | 1 ms    |
    When tasks are submitted as "one, two, three" with
      | field     | value                                          |
      | placement | {"mode": "auto", "avoid_pools": ["pool-a"]} |
    And "one, two, three" have ended
    Then the task "one" shows:
      | pointer  | value    |
      | /place/pool_id | "pool-b" |
    And the task "three" shows:
      | pointer  | value    |
      | /place/pool_id | "pool-b" |

  @case:orchestrator/placement/5 @LL-O-033 @must
  Scenario: A node that falls silent takes no work, and takes it again when it speaks
    Given the setting ORCHESTRATORD_NODE_TIMEOUT_MS is "1500"
    And the setting ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS is "1"
    And the setting POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS of the nodes is "1"
    And a chain with the worker "1 ms"
    When node a freezes
    Then soon "/v2/nodes" shows:
      | pointer          | value     |
      | /nodes/a/state   | "offline" |
    When a task is submitted as "nowhere"
    Then the answer is 503
    When node a wakes
    Then soon "/v2/nodes" shows:
      | pointer        | value    |
      | /nodes/a/state | "online" |
    When a task is submitted as "here"
    And "here" has ended
    Then the stream "here" ended with "end"

  @case:orchestrator/placement/6 @LL-O-034 @must
  Scenario: Heartbeats of a node that nobody knows are refused
    Given a chain with the worker "1 ms"
    When the body {"timestamp": "2026-01-01T00:00:00Z", "pools": []} is posted to "/v2/nodes/stranger/heartbeat"
    Then the answer is 404 with the code "NOT_FOUND"

  @case:orchestrator/placement/7 @LL-O-035 @must
  Scenario: Registering twice is registering once, and a heartbeat is told when the next is due
    Given a chain of the nodes
      | node | workers |
    When the body {"node_id": "x", "machine_id": "m", "address": "http://127.0.0.1:9", "pools": ["p"], "capabilities": {"gpus": [], "cpu_cores": 1, "ram_total_bytes": 1}, "version": "1"} is posted to "/v2/nodes/register"
    Then the answer is 200
    When the body {"node_id": "x", "machine_id": "m", "address": "http://127.0.0.1:9", "pools": ["p"], "capabilities": {"gpus": [], "cpu_cores": 1, "ram_total_bytes": 1}, "version": "1"} is posted to "/v2/nodes/register"
    Then the answer is 200
    When the body {"timestamp": "2026-01-01T00:00:00Z", "pools": []} is posted to "/v2/nodes/x/heartbeat"
    Then the answer is 200
    And the answer shows:
      | pointer                 | value   |
      | /body/success           | true    |
      | /body/next_heartbeat_ms | above 0 |
    And "/v2/nodes" shows:
      | pointer   | value  |
      | /nodes/0/node_id | "x" |
      | /nodes/1  | absent |
    When DELETE "/v2/nodes/x" is asked
    Then the answer is 204
    When DELETE "/v2/nodes/x" is asked
    Then the answer is 404 with the code "NOT_FOUND"

  @case:orchestrator/placement/8 @LL-O-036 @must
  Scenario: Nodes list their models with the length of each one's context
    Given a chain with the worker "haiku"
    Then soon "/v2/nodes" shows:
      | pointer                                       | value |
      | /nodes/a/pools/pool-a/models/0/context_length | 256   |
