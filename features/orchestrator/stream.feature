@built-in @chain
Feature: The stream of a task
  Each event has an id and is stored before it is sent. A reader that comes back misses nothing and reads nothing twice.

  @case:orchestrator/stream/1 @LL-O-020 @must
  Scenario: A stream resumes after each of its events, to the byte
    Given a chain with the worker "haiku"
    When a task is submitted as "whole"
    And "whole" has ended
    Then the stream "whole" can be resumed after each of its events

  @case:orchestrator/stream/2 @LL-O-021 @must
  Scenario: A stream that is cut while it runs goes on where it was
    Given a chain with the worker "10 ms"
    When a task is submitted as "cut" with
      | field      | value |
      | max_tokens | 60    |
    And the first token of "cut" has arrived
    And the client of "cut" disconnects
    And the stream of "cut" is read after the last as "rest"
    And "rest" has ended
    And the stream of "cut" is read from its beginning as "whole"
    And "whole" has ended
    Then "cut" and "rest" make up "whole", to the byte
    And the stream "whole" obeys every rule

  @case:orchestrator/stream/3 @LL-O-022 @must
  Scenario: A resume starts no second generation
    Given a chain with the worker "1 ms"
    When a task is submitted as "once"
    And "once" has ended
    And the metrics are scraped
    And the stream of "once" is read after event 3 as "again"
    And "again" has ended
    And the metrics are scraped
    Then both scrapes are equal, uptime aside

  @case:orchestrator/stream/4 @LL-O-023 @must
  Scenario: A history that is gone is said to be gone
    Given the setting ORCHD_EVENT_LOG_EVENTS is "8"
    And a chain with the worker "1 ms"
    When a task is submitted as "long" with
      | field      | value |
      | max_tokens | 60    |
    And "long" has ended
    And the stream of "long" is read after event 2 as "late"
    And "late" has ended
    Then the stream "late" shows:
      | pointer     | value           |
      | /error/code | "NOT_RESUMABLE" |

  @case:orchestrator/stream/5 @LL-O-024 @must
  Scenario: Only a verbose reader is told the story
    Given a chain with the worker "1 ms"
    When a task is submitted as "plain"
    And "plain" has ended
    And the stream of "plain" is read verbosely from its beginning as "verbose"
    And "verbose" has ended
    Then the stream "plain" shows:
      | pointer        | value  |
      | /metrics/human | absent |
    And the stream "verbose" shows:
      | pointer        | value  |
      | /metrics/human | a text |
    And the stream "verbose" obeys every rule

  @case:orchestrator/stream/6 @LL-O-025 @must
  Scenario: Events arrive as they are computed
    Given a chain with the worker "20 ms"
    When a task is submitted as "flowing" with
      | field      | value |
      | max_tokens | 40    |
    And the first token of "flowing" has arrived
    Then the task "flowing" shows:
      | pointer | value     |
      | /state  | "running" |
    When "flowing" has ended
    Then the stream "flowing" obeys "arrival-spread"

  @case:orchestrator/stream/7 @LL-O-026 @must
  Scenario: A task that runs is cancelled: no token follows, and its slot is free
    Given a chain with the worker "10 ms"
    When a task is submitted as "running" with
      | field      | value |
      | max_tokens | 2000  |
    And the first token of "running" has arrived
    And the task "running" is cancelled
    Then the answer is 204
    And the stream "running" ends with the error "CANCELLED" within 5 seconds of the cancel
    And the tokens of "running" stopped with the cancel
    And the stream "running" obeys every rule
    And soon "/v2/pools/pool-a/health" shows:
      | pointer     | value |
      | /slots_free | 1     |
      | /leases     | 0     |

  @case:orchestrator/stream/8 @LL-O-026 @must
  Scenario: A task that waits is cancelled before it starts, and a cancel may come twice
    Given a chain with the worker "10 ms"
    When a task is submitted as "running" with
      | field      | value |
      | max_tokens | 2000  |
    And the first token of "running" has arrived
    And a task is submitted as "waiting"
    And the task "waiting" is cancelled
    Then the answer is 204
    When the task "waiting" is cancelled
    Then the answer is 204
    And the stream "waiting" ends with the error "CANCELLED" within 5 seconds of the cancel
    And the stream "waiting" shows:
      | pointer  | value  |
      | /started | absent |
    And "running" goes on

  @case:orchestrator/stream/9 @LL-O-026 @must
  Scenario: Nobody can cancel a task that nobody knows, and a finished one stays as it is
    Given a chain with the worker "1 ms"
    When the task id "5f0c3a52-6f3b-4f6e-9b55-0d3c1e6f7a03" is cancelled
    Then the answer is 404 with the code "NOT_FOUND"
    When a task is submitted as "over"
    And "over" has ended
    And the task "over" is cancelled
    Then the answer is 204
    And the task "over" shows:
      | pointer | value       |
      | /state  | "completed" |

  @case:orchestrator/stream/10 @LL-O-027 @must
  Scenario: A client that stays away has its task cancelled after the grace time
    Given the setting ORCHD_DISCONNECT_GRACE_MS is "1500"
    And a chain with the worker "10 ms"
    When a task is submitted as "left" with
      | field      | value |
      | max_tokens | 2000  |
    And the first token of "left" has arrived
    And the client of "left" disconnects
    Then still the task "left" shows:
      | pointer | value     |
      | /state  | "running" |
    And soon the task "left" shows:
      | pointer | value       |
      | /state  | "cancelled" |

  @case:orchestrator/stream/11 @LL-O-027 @must
  Scenario: Without a grace time it is cancelled at once
    Given the setting ORCHD_DISCONNECT_GRACE_MS is "0"
    And a chain with the worker "10 ms"
    When a task is submitted as "left" with
      | field      | value |
      | max_tokens | 2000  |
    And the first token of "left" has arrived
    And the client of "left" disconnects
    Then soon the task "left" shows:
      | pointer | value       |
      | /state  | "cancelled" |
    And soon "/v2/pools/pool-a/health" shows:
      | pointer     | value |
      | /slots_free | 1     |

  @case:orchestrator/stream/12 @LL-O-026 @must
  Scenario: A task whose worker has said nothing yet is cancelled, by the other way to say so
    Given a chain with the worker "1500 ms"
    When a task is submitted as "thinking" with
      | field      | value |
      | max_tokens | 2     |
    Then soon the task "thinking" shows:
      | pointer | value     |
      | /state  | "running" |
    When DELETE "/v2/tasks/{task:thinking}" is asked
    Then the answer is 204
    When "thinking" has ended
    Then the stream "thinking" shows:
      | pointer     | value       |
      | /error/code | "CANCELLED" |
      | /tokens     | 0           |
    And soon "/v2/pools/pool-a/health" shows:
      | pointer     | value |
      | /slots_free | 1     |

  @case:orchestrator/stream/13 @LL-O-020 @must
  Scenario: Events that leave together are the same events
    Given the setting ORCHD_SSE_MICROBATCH is "true"
    And a chain with the worker "1 ms"
    When a task is submitted as "whole" with
      | field      | value |
      | max_tokens | 60    |
    And "whole" has ended
    Then the stream "whole" obeys every rule
    And the stream "whole" can be resumed after each of its events
