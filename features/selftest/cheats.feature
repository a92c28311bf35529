@selftest
Feature: The gallery of cheats
  Workers that pretend, each well enough to pass ordinary tests. Each falls from the rung that is named for it.

  @case:selftest/cheats @LL-S-004 @must
  Scenario Outline: A cheat is caught by its rung: <cheat>
    Given the cheat "<cheat>"
    When rung <rung> judges it
    Then it is caught

    Examples:
      | cheat              | rung |
      | canned-haiku       | 1    |
      | random-words       | 1    |
      | echo               | 2    |
      | echo-by-seed       | 2    |
      | replay             | 2    |
      | replay-paced       | 2    |
      | other-model        | 2    |
      | smaller-model      | 2    |
      | first-layers       | 2    |
      | first-token        | 2    |
      | first-tokens       | 2    |
      | short-memory       | 2    |
      | wrong-ids          | 2    |
      | cache-by-beginning | 2    |
      | cache-normalised   | 2    |
      | cache-by-seed      | 2    |
      | half-temperature   | 2    |
      | few-choices        | 2    |
      | short-seed         | 2    |
      | no-temperature     | 2    |
      | no-seed            | 2    |
      | foreign-tensors    | 3    |
      | eight-bits         | 4    |
      | built-in-model     | 4    |
      | stub-fallback      | 4    |
      | knows-its-model    | 5    |

    # The work of seconds, several times over: alone, or a busy machine makes it minutes.
    @serial
    Examples:
      | cheat            | rung |
      | cache            | 6    |
      | cache-paced      | 6    |
      | burst            | 7    |
      | burst-fake-times | 7    |
      | drip             | 7    |
      | rising-counters  | 7    |
      | inflated-tokens  | 7    |
      | deaf-cancel      | 8    |
      | deaf-disconnect  | 8    |
