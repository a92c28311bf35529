@built-in @chain
Feature: What has to be there before a task can run
  A model that no node has is fetched where the policy allows it, and nowhere else; each step is told, and done before the
  first token.

  @case:orchestrator/preparation/1 @LL-O-090 @must
  Scenario Outline: A model is fetched, and the task runs: <key>
    Given a pool machine, and a hub that serves the haiku model and <mishap>
    And the setting ORCHD_PROVISIONING_ALLOW is "any"
    And a chain of the nodes
      | node | workers |
      | a    | none    |
    When a task is submitted as "fetched" with
      | field     | value           |
      | model_ref | "hf:acme/model" |
    Then the answer is 202
    And the answer matches the contract "task_admission"
    And the answer shows:
      | pointer                          | value         |
      | /body/preparation/steps/0/kind   | "model_fetch" |
      | /body/preparation/steps/0/status | "pending"     |
      | /body/preparation/steps/0/group  | "a/pool-a"    |
      | /body/preparation/steps/1/kind   | "pool_warmup" |
    When the stream of "fetched" is read verbosely from its beginning as "story"
    And "story" has ended
    Then the stream "story" ended with "end"
    And the stream "story" obeys every rule
    And the stream "story" shows:
      | pointer                      | value       |
      | /metrics/prep/fetch/status   | "completed" |
      | /metrics/prep/warmup/status  | "completed" |
    When a task is submitted as "at once" with
      | field     | value           |
      | model_ref | "hf:acme/model" |
    Then the answer shows:
      | pointer                   | value  |
      | /body/preparation/steps/0 | absent |

    Examples:
      | key   | mishap                   |
      | whole | serves it whole          |
      | cut   | cuts the connection once |

  @case:orchestrator/preparation/2 @LL-O-091 @must
  Scenario: Weights that are not those of the hub are not run
    Given a pool machine, and a hub that serves the haiku model and serves other weights than it says
    And the setting ORCHD_PROVISIONING_ALLOW is "any"
    And a chain of the nodes
      | node | workers |
      | a    | none    |
    When a task is submitted as "wrong" with
      | field     | value           |
      | model_ref | "hf:acme/model" |
    And "wrong" has ended
    Then the stream "wrong" shows:
      | pointer     | value                 |
      | /error/code | "MODEL_NOT_AVAILABLE" |
      | /tokens     | 0                     |
    And the stream "wrong" obeys every rule

  @case:orchestrator/preparation/3 @LL-O-092 @must
  Scenario Outline: Nothing is fetched that the policy does not allow: <key>
    Given a pool machine, and a hub that serves the haiku model
    And the setting ORCHD_PROVISIONING_ALLOW is "<allow>"
    And the setting ORCHD_PROVISIONING_POOLS is "<pools>"
    And a chain of the nodes
      | node | workers |
      | a    | none    |
    When a task is submitted as "refused" with
      | field     | value           |
      | model_ref | "hf:acme/model" |
    Then the answer is 503 with the code "MODEL_NOT_AVAILABLE"

    Examples:
      | key       | allow  | pools  |
      | never     | never  | pool-a |
      | unlisted  | listed | pool-a |
      | elsewhere | any    | pool-b |

  @case:orchestrator/preparation/4 @LL-O-092 @must
  Scenario: What the catalog lists may be fetched
    Given a pool machine, and a hub that serves the haiku model
    And the setting ORCHD_PROVISIONING_ALLOW is "listed"
    And a chain of the nodes
      | node | workers |
      | a    | none    |
    When the body {"id": "listed", "model_ref": "hf:acme/model"} is posted to "/v2/catalog/models"
    And a task is submitted as "fetched" with
      | field     | value    |
      | model_ref | "listed" |
    Then the answer is 202
    When "fetched" has ended
    Then the stream "fetched" ended with "end"
