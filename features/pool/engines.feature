@built-in
Feature: Engines that a node provides
  A `llama-server` is found, or built from its sources; it is started on a model with a key of its own and bound by its
  handoff file; what fails says why and leaves nothing. A program of ours stands in llama-server's place: it speaks as that
  does, and what it computes is right. (The real one is in `haiku/9`.)

  @case:pool/engines/1 @LL-EP-001 @must @lane:cmake
  Scenario: An engine is built from its sources once, and found again
    Given a pool machine with the sources of an engine that are whole
    And its node's configuration is
      """
      engine: {source: {folder: sources}, cache_dir: cache}
      """
    When the command "llorch pool-managerd provision --build-only --config node.yaml" is run
    Then the command exits with code 0 and says ""action":"engine_ready""
    And no half of a build is left
    When meanwhile the sources are lost
    And the command "llorch pool-managerd provision --build-only --config node.yaml" is run
    Then the command exits with code 0 and says ""action":"engine_ready""

  @case:pool/engines/2 @LL-EP-002 @must @lane:cmake
  Scenario Outline: A build that fails says where, and leaves nothing half made: <sources>
    Given a pool machine with the sources of an engine that are <sources>
    And its node's configuration is
      """
      engine: {source: {folder: sources}, cache_dir: cache}
      """
    When the command "llorch pool-managerd provision --build-only --config node.yaml" is run
    Then the command exits with code 1 and says "<says>"
    And no half of a build is left

    Examples:
      | sources           | says                          |
      | wrong             | build failed (exit code       |
      | of something else | holds no sources of llama.cpp |

  @case:pool/engines/3 @LL-EP-003 @must
  Scenario Outline: What can't be is refused before anything is begun: <key>
    Given a pool machine whose hf <hf>
    And its node's configuration is
      """
      engine: {source: {folder: sources}, cache_dir: cache}
      """
    When the command "LLAMA_SERVER_BIN=<program> llorch pool-managerd provision --build-only --config node.yaml" is run
    Then the command exits with code 1 and says "<says>"
    And no half of a build is left

    Examples:
      | key        | hf               | program               | says                                                    |
      | no-tools   | is not installed |                       | the build needs a C++ compiler, cmake, ninja or make    |
      | no-program | always fails     | /nowhere/llama-server | LLAMA_SERVER_BIN: '/nowhere/llama-server' is no program |

  @case:pool/engines/4 @LL-EP-003 @must
  Scenario: An engine without the device that is asked for is not taken
    Given a pool machine
    And a llama-server that works
    And its node's configuration is
      """
      engine: {gpu: cuda}
      """
    When the command "llorch pool-managerd provision --build-only --config node.yaml" is run
    Then the command exits with code 1 and says "it would compute on the processor, which nobody asked for"

  @case:pool/engines/5 @LL-EP-004 @must
  Scenario: An engine that is provided by hand is bound, and leaves nothing but its log
    Given a pool machine that has the haiku model as "haiku"
    And a llama-server that works
    And its node's configuration is
      """
      runtime_dir: engines
      pools: [pool-a]
      engine: {model: haiku, slots: 1, flags: [--ctx-size, "256"]}
      """
    When the command "llorch pool-managerd provision --config node.yaml" is begun, and its engine is bound
    Then the handoff of the engine shows:
      | pointer            | value                           |
      | /pool_id           | "pool-a"                        |
      | /replica_id        | "r0"                            |
      | /engine            | "llamacpp"                      |
      | /provisioning_mode | "provision"                     |
      | /url               | like "^http://127[.]0[.]0[.]1:[0-9]+$" |
      | /model/id          | "haiku"                         |
      | /slots_total       | 1                               |
      | /slots_free        | 1                               |
      | /flags             | ["--ctx-size", "256"]           |
    And nobody but its owner can read the engine's key
    When the command that was begun is told to stop
    Then the command exits with code 0 and says ""action":"handoff""
    And nothing is left of the engine but its log

  @case:pool/engines/6 @LL-EP-005 @must
  Scenario: An engine that ends at its start is an error with its last words
    Given a pool machine that has the haiku model as "haiku"
    And a llama-server that ends at once
    And its node's configuration is
      """
      runtime_dir: engines
      engine: {model: haiku}
      """
    When the command "llorch pool-managerd provision --config node.yaml" is run
    Then the command exits with code 1 and says "these were its last words"
    And nothing is left of the engine but its log

  @case:pool/engines/7 @LL-EP-006 @must @chain
  Scenario: A task for an engine that is not there has it provided
    Given a pool machine
    And a llama-server that works
    And the setting ORCHD_PROVISIONING_ALLOW is "any"
    And a chain of the nodes
      | node | workers |
      | a    | none    |
    When a task is submitted as "first" with
      | field     | value      |
      | engine    | "llamacpp" |
      | model_ref | "{haiku}"  |
    Then the answer is 202
    And the answer matches the contract "task_admission"
    And the answer shows:
      | pointer                        | value              |
      | /body/preparation/steps/0/kind | "model_fetch"      |
      | /body/preparation/steps/1/kind | "engine_provision" |
      | /body/preparation/steps/2/kind | "pool_warmup"      |
    When the stream of "first" is read verbosely from its beginning as "story"
    And "story" has ended
    Then the stream "story" ended with "end"
    And the stream "story" obeys every rule
    And the stream "story" shows:
      | pointer                      | value       |
      | /metrics/prep/engine/status  | "completed" |
      | /metrics/prep/warmup/status  | "completed" |
    And soon "/v2/pools/pool-a/health" shows:
      | pointer            | value      |
      | /replicas/0/engine | "llamacpp" |

  @case:pool/engines/8 @LL-EP-006 @must @chain
  Scenario: A task whose engine can't be provided is told so, at once and in its own words
    Given a pool machine
    And a llama-server that ends at once
    And the setting ORCHD_PROVISIONING_ALLOW is "any"
    And a chain of the nodes
      | node | workers |
      | a    | none    |
    When a task is submitted as "failed" with
      | field     | value      |
      | engine    | "llamacpp" |
      | model_ref | "{haiku}"  |
    And "failed" has ended
    Then the stream "failed" shows:
      | pointer        | value                               |
      | /error/code    | "MODEL_NOT_AVAILABLE"               |
      | /error/message | like "these were its last words"    |
      | /tokens        | 0                                   |

  @case:pool/engines/9 @LL-EP-007 @must @chain
  Scenario: A model that its worker can't load fails the task that waits for it
    Given the setting ORCHD_PROVISIONING_ALLOW is "any"
    And a chain of the nodes
      | node | workers |
      | a    | none    |
    And a file "broken.gguf" of no model on the nodes
    When a task is submitted as "failed" with
      | field     | value                          |
      | model_ref | "file:{folder}/broken.gguf"    |
    And "failed" has ended
    Then the stream "failed" shows:
      | pointer     | value                 |
      | /error/code | "MODEL_NOT_AVAILABLE" |
      | /tokens     | 0                     |
