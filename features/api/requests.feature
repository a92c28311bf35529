@must
Feature: What an engine refuses
  A request that can't be answered is refused before anything is computed: a status from 400 to 499 and an error that says
  why.

  @case:api/requests/1 @LL-A-010 @api
  Scenario Outline: A field that is no such thing is refused: <key>
    Given a worker
    Then it refuses "<field>" as <value>

    Examples:
      | key                 | field       | value    |
      | prompt-missing      | prompt      | (absent) |
      | prompt-number       | prompt      | 5.5      |
      | temperature-text    | temperature | "hot"    |
      | max-tokens-text     | max_tokens  | "many"   |
      | top-p-text          | top_p       | "most"   |

  @case:api/requests/2 @LL-A-010 @api
  Scenario: A list is no request
    Given a worker
    Then it refuses the body [1, 2]

  @case:api/requests/3 @LL-A-010 @api @should
  Scenario: What is no JSON is the client's mistake, and no failure of the server
    Given a worker
    Then it refuses the body {"prompt":

  @case:api/requests/5 @LL-A-010 @api @should
  Scenario: Stop sequences that are none are refused
    Given a worker
    Then it refuses "stop" as 5

  @case:api/requests/4 @LL-A-011 @api
  Scenario: A prompt longer than the context is refused
    Given a worker
    Then it refuses a prompt longer than its context
