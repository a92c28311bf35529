@built-in @chain
Feature: A node and its engines
  Handoff files bind engines while they answer; pools drain, reload and purge; what dies is seen and replaced.

  @case:pool/nodes/1 @LL-O-070 @must
  Scenario: A handoff file is taken, rewritten, broken and removed
    Given a chain of the nodes
      | node | workers |
      | a    | none    |
    When the handoff file of node a names the engine "one"
    Then soon "/v2/pools/pool-a/health" shows:
      | pointer | value |
      | /ready  | true  |
    When a task is submitted as "first" with
      | field     | value          |
      | engine    | "llamacpp"     |
      | model_ref | "engine-model" |
    And "first" has ended
    Then the stream "first" shows:
      | pointer | value         |
      | /text   | like "^one "  |
    When the handoff file of node a names the engine "two"
    And the engine "one" goes away
    Then soon "/v2/pools/pool-a/health" shows:
      | pointer                    | value |
      | /ready                     | true  |
      | /replicas/0/engine_version | "two" |
    When a task is submitted as "second" with
      | field     | value          |
      | engine    | "llamacpp"     |
      | model_ref | "engine-model" |
    And "second" has ended
    Then the stream "second" shows:
      | pointer | value         |
      | /text   | like "^two "  |
    When the handoff file of node a is broken
    Then soon "/v2/pools/pool-a/health" shows:
      | pointer | value |
      | /ready  | false |
    When the handoff file of node a names the engine "two"
    Then soon "/v2/pools/pool-a/health" shows:
      | pointer | value |
      | /ready  | true  |
    When the handoff file of node a is removed
    Then soon "/v2/pools/pool-a/health" shows:
      | pointer | value |
      | /ready  | false |

  @case:pool/nodes/2 @LL-O-071 @must
  Scenario: An engine that does not answer is not ready
    Given a chain of the nodes
      | node | workers |
      | a    | none    |
    When the handoff file of node a names the engine "one"
    Then soon "/v2/pools/pool-a/health" shows:
      | pointer | value |
      | /ready  | true  |
    When the engine "one" goes away
    Then soon "/v2/pools/pool-a/health" shows:
      | pointer | value |
      | /ready  | false |

  @case:pool/nodes/3 @LL-O-072 @must
  Scenario: A worker that is killed is seen, and comes back
    Given a chain with the worker "1 ms"
    When the worker of node a is killed
    Then soon "/v2/state" of node a shows:
      | pointer              | value |
      | /workers/0/starts    | 2     |
      | /workers/0/last_exit | {"signal": 9} |
    And the log carries in this order
      | message                                          |
      | Hears that a worker of node a failed: signal 9   |
    And soon "/v2/pools/pool-a/health" shows:
      | pointer     | value |
      | /ready      | true  |
      | /slots_free | 1     |
    When a task is submitted as "after"
    And "after" has ended
    Then the stream "after" ended with "end"

  @case:pool/nodes/4 @LL-O-073 @must
  Scenario: A pool that drains finishes what it runs and takes nothing more
    Given a chain with the worker "10 ms"
    When a task is submitted as "running" with
      | field      | value |
      | max_tokens | 60    |
    And the first token of "running" has arrived
    And the body {} is posted to "/v2/pools/pool-a/drain"
    Then the answer is 202
    And soon "/v2/pools/pool-a/health" shows:
      | pointer   | value |
      | /draining | true  |
      | /ready    | false |
    When "running" has ended
    Then the stream "running" ended with "end"
    When a task is submitted as "late"
    Then the answer is 503

  @case:pool/nodes/5 @LL-O-074 @must
  Scenario: A pool is reloaded, and works again with a new worker
    Given a chain with the worker "1 ms"
    When the body {"model_ref": "{haiku}"} is posted to "/v2/pools/pool-a/reload"
    Then the answer is 202
    And soon "/v2/pools/pool-a/health" shows:
      | pointer                 | value     |
      | /ready                  | true      |
      | /replicas/0/models/0/id | "{haiku}" |
    When a task is submitted as "after" with
      | field     | value     |
      | model_ref | "{haiku}" |
    And "after" has ended
    Then the stream "after" ended with "end"

  @case:pool/nodes/6 @LL-O-075 @must
  Scenario: A pool that is purged has nothing left
    Given a chain with the worker "1 ms"
    When the body {} is posted to "/v2/pools/pool-a/purge"
    Then the answer is 202
    And soon "/v2/state" of node a shows:
      | pointer    | value  |
      | /workers/0 | absent |
    And soon "/v2/pools/pool-a/health" shows:
      | pointer | value |
      | /ready  | false |
    When a task is submitted as "late"
    Then the answer is 503

  @case:pool/nodes/7 @LL-O-076 @must
  Scenario: A node that is killed leaves no process, and is a node again when it comes back
    Given a chain with the worker "1 ms"
    When node a is killed
    Then no process is left behind but the orchestrator
    When node a starts again
    Then soon "/v2/pools/pool-a/health" shows:
      | pointer     | value |
      | /ready      | true  |
      | /slots_free | 1     |
    When a task is submitted as "after"
    And "after" has ended
    Then the stream "after" ended with "end"

  @case:pool/nodes/8 @LL-O-077 @must
  Scenario Outline: A configuration that is wrong is refused at once: <setting>
    Given a pool machine
    When the command "<setting>=<value> llorch pool-managerd" is run
    Then the command exits with code 2 and says "<setting>: '<value>' is refused; allowed: "

    Examples:
      | setting                               | value     |
      | POOL_MANAGERD_ADDR                    | nowhere   |
      | POOL_MANAGERD_WATCH_INTERVAL_MS       | 0         |
      | POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS | seldom    |
      | POOL_MANAGERD_NODE_ID                 | a/b       |
      | ORCHESTRATORD_URL                     | not-a-url |
