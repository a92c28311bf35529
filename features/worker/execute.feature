Feature: Execute
  POST /execute answers with a stream of server-sent events: started, then tokens as they are computed, then exactly one
  end or error, and nothing after it.

  @case:worker/execute/1 @M0-W-1300 @must @quick
  Scenario: A job is answered with a stream of events
    Given a worker
    When a job is sent
    Then the stream obeys "content-type"
    And the stream obeys "content-encoding"

  @case:worker/execute/2 @M0-W-1310 @must @quick
  Scenario Outline: Each frame is an event a client can read: <rule>
    Given a worker
    When a job is sent
    Then the stream obeys "<rule>"

    Examples:
      | rule           |
      | utf8           |
      | event-line     |
      | line-length    |
      | one-line-data  |
      | json-data      |
      | frame-complete |

  @case:worker/execute/3 @M0-W-1311 @must @quick
  Scenario Outline: The events come in order: <rule>
    Given a worker
    When a job is sent with
      | field      | value |
      | max_tokens | 12    |
    Then the stream obeys "<rule>"

    Examples:
      | rule                    |
      | started-first           |
      | started-once            |
      | no-token-after-terminal |
      | terminal-last           |
      | terminal-once           |
      | clean-end               |

  @case:worker/execute/4 @M0-W-1312 @must @quick
  Scenario Outline: The events carry their fields: <rule>
    Given a worker
    When a job is sent with
      | field      | value |
      | max_tokens | 12    |
    Then the stream obeys "<rule>"

    Examples:
      | rule           |
      | started-fields |
      | started-at     |
      | token-text     |
      | token-fields   |
      | token-index    |
      | own-text       |
      | metrics-fields |
      | end-fields     |
      | stop-reason    |

  @case:worker/execute/5 @M0-W-1312 @must @quick
  Scenario Outline: The events agree with the request and with each other: <rule>
    Given a worker
    When a job is sent with
      | field      | value |
      | max_tokens | 12    |
      | seed       | 42    |
    Then the stream obeys "<rule>"

    Examples:
      | rule                     |
      | job-id                   |
      | seed-asked               |
      | seed-equal               |
      | tokens-out-limit         |
      | tokens-out-count         |
      | no-replacement-character |

  @case:worker/execute/6 @LL-W-110 @must @quick
  Scenario Outline: The limit on tokens is kept: <max_tokens>
    Given a worker
    When a job is sent with
      | field      | value        |
      | max_tokens | <max_tokens> |
    Then the stream obeys "tokens-out-limit"
    And the stream obeys "max-tokens-exact"

    Examples:
      | max_tokens |
      | 1          |
      | 2          |

  @case:worker/execute/7 @LL-W-111 @must
  Scenario: Tokens arrive as they are computed, not in one burst
    Given a worker with long jobs
    When a 1-second job is sent as "paced"
    And "paced" has ended
    Then the stream "paced" obeys "arrival-spread"

  @case:worker/execute/8 @LL-W-112 @must @quick
  Scenario: A seed that nobody gave is drawn and reported
    Given a worker
    When a job is sent with
      | field | value    |
      | seed  | (absent) |
    Then the stream obeys "started-fields"
    And the stream obeys "seed-equal"

  @case:worker/execute/9 @LL-W-113 @must @quick
  Scenario: Unknown fields are ignored
    Given a worker
    When a job is sent with
      | field            | value              |
      | x_future_field   | {"anything": [1]}  |
    Then the stream obeys every rule

  @case:worker/execute/10 @LL-W-114 @must @quick
  Scenario Outline: The edges of each range are inside it: <field> <value>
    Given a worker
    When a job is sent with
      | field   | value   |
      | <field> | <value> |
    Then the stream obeys every rule

    Examples:
      | key                    | field              | value                |
      | temperature-low        | temperature        | 0.0                  |
      | temperature-high       | temperature        | 2.0                  |
      | top-p-low              | top_p              | 0.0                  |
      | top-p-high             | top_p              | 1.0                  |
      | top-k-off              | top_k              | 0                    |
      | top-k-one              | top_k              | 1                    |
      | min-p-low              | min_p              | 0.0                  |
      | min-p-high             | min_p              | 1.0                  |
      | penalty-low            | repetition_penalty | 0.01                 |
      | penalty-high           | repetition_penalty | 2.0                  |
      | seed-low               | seed               | 0                    |
      | seed-high              | seed               | 18446744073709551615 |
      | seed-beyond-doubles    | seed               | 9007199254740993     |
      | stop-four              | stop               | ["~1","~2","~3","~4"] |
      | job-id-all-characters  | job_id             | "aZ09._:-"           |
      | prompt-one-character   | prompt             | "H"                  |
      | prompt-two-scalars     | prompt             | "é€"                 |

  @case:worker/execute/11 @LL-W-115 @must
  Scenario: An ordinary SSE client reads the same events
    Given a worker
    When a job is sent
    And the same job is sent through an ordinary SSE client
    Then both clients read the same kinds of events

  @case:worker/execute/12 @LL-W-116 @must @quick
  Scenario: A connection that sends half a request does not stop the others
    Given a worker
    When a connection sends half a request and waits
    And a job is sent
    Then the stream obeys every rule

  @case:worker/execute/13 @LL-W-117 @must @quick
  Scenario: A job id can be used again once its job has ended
    Given a worker
    When a job is sent with
      | field  | value              |
      | job_id | "again-and-again"  |
    And the stream has ended
    And a job is sent with
      | field  | value              |
      | job_id | "again-and-again"  |
    Then the stream obeys every rule

  @case:worker/execute/14 @LL-W-112 @must @quick
  Scenario: Each job without a seed gets another one
    Given a worker
    When a job is sent with
      | field | value    |
      | seed  | (absent) |
    And a job is sent with
      | field | value    |
      | seed  | (absent) |
    Then each job's seed is another

  @case:worker/execute/15 @LL-W-118 @must
  Scenario: A job that says no max_tokens has 2048
    Given a worker that computes
    When a job without max_tokens is run
    Then it is ended by its text or the context, and not by a limit of its own
