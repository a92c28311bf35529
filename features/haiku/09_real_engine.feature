@built-in @chain @lane:real-llama @must
Feature: A real engine behind the whole chain
  client → orchestratord → pool-managerd, which finds llama-server, starts it and writes its handoff → llama-server. The
  rungs are climbed through all of it; the reference is the f64 oracle on the same file. `.ci/llama-server` builds an engine
  where none is there; REQUIRE_REAL_LLAMA=1 makes its absence a failure.

  @case:haiku/9/1 @LL-E-001 @LL-R-1
  Scenario: Rung 1, echo: the haiku through a chain that starts the engine
    Given a chain with the worker "llama-server"
    When the haiku is asked for, as a client does
    Then the pipeline of the haiku holds
    And the word rule of the haiku holds

  @case:haiku/9/2 @LL-E-001 @LL-R-2
  Scenario: Rung 2, known answer: unseen prompts through the chain
    Given a chain with the worker "llama-server"
    Then what the chain writes greedily is the reference's text

  @case:haiku/9/3 @LL-E-001 @LL-R-4
  Scenario Outline: Rung 4, fresh weights: the engine is started on a file that never existed: <shape>
    Given a chain with the worker "llama-server on <weights>"
    Then what the chain writes greedily is the reference's text

    Examples:
      | shape | weights             |
      | gpt2  | fresh weights       |
      | llama | fresh Llama weights |
      | qwen2 | fresh Qwen2 weights |

  @case:haiku/9/4 @LL-E-002 @LL-R-1 @LL-R-2
  Scenario: The same with a llama-server that runs already
    Given a running llama-server that the orchestrator is told of
    And a chain of the nodes
      | node | workers |
      | a    | none    |
    Then soon "/v2/pools/default/health" shows:
      | pointer | value |
      | /ready  | true  |
    When the haiku is asked for, as a client does
    Then the pipeline of the haiku holds
    And the word rule of the haiku holds
    And what the chain writes greedily is the reference's text

  @case:haiku/9/5 @LL-E-003
  Scenario: A haiku leaves a bundle that anybody can verify
    Given a chain with the worker "llama-server"
    Then a haiku through the chain leaves a proof bundle that verifies

  @case:haiku/9/6 @LL-E-004 @LL-R-8 @serial
  Scenario: A cancelled task leaves the engine's slot at rest, and the next runs at once
    llama-server notices a client that left when it has text to send it, and looks once a second where it has none: half a
    character, say. So a slot rests within that second and a step; twice that is allowed.

    Given a chain with the worker "llama-server on slow weights"
    When a task is submitted as "victim" with
      | field      | value |
      | max_tokens | 1900  |
      | ctx        | 2048  |
    And the first token of "victim" has arrived
    Then the engine's slot works within 1000 milliseconds
    When the task "victim" is cancelled
    Then the engine's slot rests within 2000 milliseconds
    And the stream "victim" ends with the error "CANCELLED" within 5 seconds of the cancel
    When a task is submitted as "next"
    And "next" has ended
    Then the stream "next" ended with "end"

  @case:haiku/9/7 @LL-E-004
  Scenario: Two tasks run in order on one slot
    Given a chain with the worker "llama-server on slow weights"
    When a task is submitted as "one" with
      | field      | value |
      | max_tokens | 8     |
    And a task is submitted as "two" with
      | field      | value |
      | max_tokens | 8     |
    And "one, two" have ended
    Then the stream "one" ended with "end"
    And the stream "two" ended with "end"
    And "two" started after "one" had ended

  @case:haiku/9/8 @LL-E-005
  Scenario: An engine that is killed in a stream ends it, and another takes its place
    Given a chain with the worker "llama-server on slow weights"
    When a task is submitted as "cut" with
      | field      | value |
      | max_tokens | 1900  |
      | ctx        | 2048  |
    And the first token of "cut" has arrived
    And the engine is killed, and its port taken
    And "cut" has ended
    Then the stream "cut" shows:
      | pointer     | value          |
      | /error/code | "WORKER_RESET" |
    And another engine takes its place, on another port
    When a task is submitted as "next"
    And "next" has ended
    Then the stream "next" ended with "end"

  @case:haiku/9/9 @LL-E-006
  Scenario: The story is told under the task's id, without a word of what was asked
    Given a chain with the worker "llama-server"
    When a task is submitted as "secret" with
      | field                   | value                              |
      | header x-correlation-id | real-1234-abcd                     |
      | prompt                  | "The password is xyzzy-plugh-7731" |
    And "secret" has ended
    Then the log carries the correlation id "real-1234-abcd"
    And the log does not contain "xyzzy-plugh-7731"

  @case:haiku/9/10 @LL-E-005
  Scenario: A chain that stops leaves nothing of the engine but its log
    Given a chain with the worker "llama-server"
    When the chain is told to stop
    Then no process is left behind
    And nothing is left of the engine but its log

  @case:haiku/9/11 @LL-E-007
  Scenario: A model of your own, named by LLORCH_HAIKU_MODEL
    Given a chain with the worker "llama-server on a named model"
    When the haiku is asked for, as a client does
    Then the pipeline of the haiku holds

  @case:haiku/9/12 @LL-E-007 @should
  Scenario: The word rule on a model of your own, which is a verdict of its own
    Given a chain with the worker "llama-server on a named model"
    When the haiku is asked for, as a client does
    Then the word rule of the haiku holds
