@must
Feature: An engine's streams, in its own words
  `llorch verify --api llamacpp` and `--api openai` ask an engine that does not speak the worker contract. What is told here
  is the form of its own messages; the cases about text, seeds and known answers are the contract's, asked in its words.

  @case:api/stream/1 @LL-A-001 @api
  Scenario: A text is streamed as unnamed events with one JSON object each
    Given a worker
    Then its text, in its own words, obeys "form"

  @case:api/stream/2 @LL-A-001 @api
  Scenario: Texts, one reason of the end, and nothing after it but what ends the stream
    Given a worker
    Then its text, in its own words, obeys "order"

  @case:api/stream/3 @LL-A-002 @api
  Scenario: What is counted is what was asked for and what was sent
    Given a worker
    Then its text, in its own words, obeys "counts"

  @case:api/stream/4 @LL-A-001 @api
  Scenario: Every message is of one answer, and says what was asked for
    Given a worker
    Then its text, in its own words, obeys "identity"

  @case:api/stream/5 @LL-A-002 @api
  Scenario: The prompt's tokens are counted as the model file has them
    Given a worker on a model that the harness knows
    Then it counts the prompt's tokens as the model file has them

  @case:api/stream/6 @LL-A-003 @api
  Scenario: An answer that comes whole is what is streamed
    Given a worker
    Then its whole answer is what it streams

  @case:api/stream/7 @LL-R-7 @api @rung:7 @serial
  Scenario: Tokens arrive when they are computed
    Given an engine, on a model whose steps take milliseconds where it can be given one
    When a job is run and counted
    Then its arrivals are honest

  @case:api/stream/8 @LL-A-001 @api:openai
  Scenario Outline: A chat is streamed by the same rules: <rule>
    Given a worker
    Then its chat, in its own words, obeys "<rule>"

    Examples:
      | rule     |
      | form     |
      | order    |
      | counts   |
      | identity |

  @case:api/stream/9 @LL-A-003 @api @should
  Scenario: Text held back for a stop sequence that never comes is sent at the end
    Given a worker
    When a greedy job is run, and again with a stop sequence that its end only begins
    Then both texts are equal
