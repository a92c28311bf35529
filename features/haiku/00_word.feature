@built-in
Feature: The haiku and its word
  The tiny trained model writes a haiku around the minute of the hour. Two verdicts, never mixed: what the worker did, and
  what the model can. Every nonce is fresh, and the subjects do not occur in what the model was trained on. The measured rate
  of the word rule is 100 % greedily and 99.9 % drawn at temperature 0.7 with top_p 0.95.

  @case:haiku/word/1 @LL-M-020 @ours
  Scenario: Every minute of the hour, greedily
    Given a worker on the haiku model
    When a haiku about "a state-of-the-art toaster" is asked for at every minute, greedily
    Then every stream of a haiku obeys the rules
    And the word rule holds for at least 60 of them
    And the word rule is broken by at least 60 of them when the next minute is meant

  @case:haiku/word/2 @LL-M-020 @ours
  Scenario Outline: Every minute of the hour, drawn: <key>
    Given a worker on the haiku model
    When a haiku about "<subject>" is asked for at every minute, with seed <seed>
    Then every stream of a haiku obeys the rules
    And the word rule holds for at least 58 of them
    And the word rule is broken by at least 58 of them when the next minute is meant

    Examples:
      | key    | subject                | seed       |
      | first  | Schrödinger's cat      | 1          |
      | second | the smell of libraries | 42         |
      | third  | photosynthesis         | 1763596800 |

  @case:haiku/word/3 @LL-M-021 @ours
  Scenario: The plain haiku has three lines, and the same twice
    Given a worker on the haiku model
    Then the plain haiku has three lines, and the same twice
