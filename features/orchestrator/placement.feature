@built-in @chain
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
      | a    | none    |
    When the body {"node_id": "x", "machine_id": "m", "address": "http://127.0.0.1:9", "pools": ["p"], "capabilities": {"gpus": [], "cpu_cores": 1, "ram_total_bytes": 1}, "version": "1"} is posted to "/v2/nodes/register"
    Then the answer is 200
    When the body {"node_id": "x", "machine_id": "m", "address": "http://127.0.0.1:9", "pools": ["p"], "capabilities": {"gpus": [], "cpu_cores": 1, "ram_total_bytes": 1}, "version": "1"} is posted to "/v2/nodes/register"
    Then the answer is 200
    When the body {"timestamp": "2026-01-01T00:00:00Z", "pools": []} is posted to "/v2/nodes/x/heartbeat"
    Then the answer is 200
    And the answer shows:
      | pointer                 | value   |
      | /body/success           | true    |
      | /body/next_heartbeat_ms | 10000   |
    And soon "/v2/nodes" shows:
      | pointer          | value  |
      | /nodes/a/node_id | "a"    |
      | /nodes/x/node_id | "x"    |
      | /nodes/2         | absent |
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

  @case:orchestrator/placement/9 @LL-O-037 @must
  Scenario Outline: With <strategy> two nodes share the work
    Given the setting ORCHESTRATORD_PLACEMENT_STRATEGY is "<strategy>"
    And a chain of the nodes
      | node | workers |
      | a    | 5 ms    |
      | b    | 5 ms    |
    When tasks are submitted as "one, two" with
      | field      | value |
      | max_tokens | 60    |
    And "one, two" have ended
    Then "/metrics" shows:
      | pointer                    | value |
      | /placement_decisions_total | 2     |
    And "one" and "two" ran in different pools

    Examples:
      | strategy     |
      | round-robin  |
      | least-loaded |
      | random       |

  @case:orchestrator/placement/10 @LL-O-038 @must
  Scenario: Several tasks, one after the other: round-robin goes round, least-loaded does not
    Given the setting ORCHESTRATORD_PLACEMENT_STRATEGY is "round-robin"
    And a chain of the nodes
      | node | workers |
      | a    | 1 ms    |
      | b    | 1 ms    |
    When a task is submitted as "one"
    And "one" has ended
    And a task is submitted as "two"
    And "two" has ended
    Then "one" and "two" ran in different pools
    When a task is submitted as "three" with
      | field      | value           |
      | session_id | "{session:two}" |
      | kv_hint    | "reuse"         |
    And "three" has ended
    Then "two" and "three" ran in the same pool

  @case:orchestrator/placement/11 @LL-O-039 @must
  Scenario Outline: What no pool can give is refused: <why>
    Given a chain with the worker "1 ms"
    When a task is submitted as "picky" with
      | field     | value       |
      | placement | <placement> |
    Then the answer is <status> with the code "<code>"

    Examples:
      | why           | placement                                                                              | status | code             |
      | avoided       | {"mode": "auto", "avoid_pools": ["pool-a"]}                                            | 503    | POOL_UNAVAILABLE |
      | no-device     | {"mode": "auto", "require_device_mask": "7"}                                           | 503    | POOL_UNAVAILABLE |
      | no-fallback   | {"mode": "prefer", "prefer_pools": ["elsewhere"], "allow_fallback": false}             | 503    | POOL_UNAVAILABLE |
      | pin-and-avoid | {"mode": "pin", "pin_pool_id": "pool-a", "avoid_pools": ["pool-a"]}                    | 400    | INVALID_PARAMS   |
      | pin-device    | {"mode": "pin", "pin_pool_id": "pool-a", "require_device_mask": "7"}                   | 400    | INVALID_PARAMS   |

  @case:orchestrator/placement/12 @LL-O-039 @must
  Scenario: A pin to a pool that drains is refused, and its node can be lost
    Given a chain with the worker "1 ms"
    When the body {} is posted to "/v2/pools/pool-a/drain"
    Then the answer is 202
    When a task is submitted as "pinned" with
      | field     | value                                     |
      | placement | {"mode": "pin", "pin_pool_id": "pool-a"} |
    Then the answer is 503 with the code "POOL_UNREADY"
    When node a is killed
    And the body {} is posted to "/v2/pools/pool-a/drain"
    Then the answer is 503 with the code "NODE_UNAVAILABLE"
    And the answer matches the contract "task_refusal"
