Feature: Validation
  Everything is checked before inference, and every failure is listed, each with its field and constraint: an author who
  repairs one mistake at a time needs one answer, not five.

  @case:worker/validation/1 @M0-W-1302 @must @quick
  Scenario Outline: Out of range is refused: <key>
    Given a worker
    When a job is sent with
      | field   | value   |
      | <field> | <value> |
    Then the answer is 400 with the code "INVALID_REQUEST"
    And the answer lists exactly the fields "<field>"

    Examples:
      | key                  | field              | value                           |
      | job-id-missing       | job_id             | (absent)                        |
      | job-id-empty         | job_id             | ""                              |
      | job-id-blank         | job_id             | "a b"                           |
      | job-id-newline       | job_id             | "a\\nevent: end"                 |
      | job-id-long          | job_id             | (129 times "j")                 |
      | prompt-missing       | prompt             | (absent)                        |
      | prompt-empty         | prompt             | ""                              |
      | prompt-long          | prompt             | (32769 times "p")               |
      | max-tokens-zero      | max_tokens         | 0                               |
      | max-tokens-high      | max_tokens         | 2049                            |
      | max-tokens-negative  | max_tokens         | -1                              |
      | temperature-low      | temperature        | -0.1                            |
      | temperature-high     | temperature        | 2.1                             |
      | top-p-low            | top_p              | -0.01                           |
      | top-p-high           | top_p              | 1.01                            |
      | top-k-negative       | top_k              | -1                              |
      | top-k-high           | top_k              | 4294967296                      |
      | min-p-low            | min_p              | -0.5                            |
      | min-p-high           | min_p              | 1.5                             |
      | penalty-zero         | repetition_penalty | 0.0                             |
      | penalty-high         | repetition_penalty | 2.01                            |
      | stop-five            | stop               | ["a","b","c","d","e"]           |
      | stop-empty-string    | stop               | [""]                            |
      | stop-long            | stop               | [(101 times "s")]               |
      | seed-negative        | seed               | -1                              |
      | seed-high            | seed               | 18446744073709551616            |

  @case:worker/validation/2 @M0-W-1302 @must @quick
  Scenario Outline: A wrong type is refused: <key>
    Given a worker
    When a job is sent with
      | field   | value   |
      | <field> | <value> |
    Then the answer is 400 with the code "INVALID_REQUEST"
    And the answer lists exactly the fields "<field>"

    Examples:
      | key                 | field              | value      |
      | job-id-number       | job_id             | 7          |
      | job-id-null         | job_id             | null       |
      | prompt-number       | prompt             | 7          |
      | prompt-list         | prompt             | ["Hello."] |
      | max-tokens-string   | max_tokens         | "5"        |
      | max-tokens-fraction | max_tokens         | 1.5        |
      | temperature-string  | temperature        | "0.7"      |
      | top-p-boolean       | top_p              | true       |
      | top-k-fraction      | top_k              | 0.5        |
      | min-p-object        | min_p              | {}         |
      | penalty-list        | repetition_penalty | [1.0]      |
      | stop-string         | stop               | "a"        |
      | stop-numbers        | stop               | [1]        |
      | seed-string         | seed               | "42"       |

  @case:worker/validation/3 @M0-W-1302 @must @quick
  Scenario: Every failure is listed, not only the first
    Given a worker
    When a job is sent with
      | field       | value    |
      | prompt      | ""       |
      | max_tokens  | 0        |
      | temperature | 9.5      |
      | top_p       | -3       |
      | stop        | "not a list" |
    Then the answer is 400 with the code "INVALID_REQUEST"
    And the answer lists exactly the fields "prompt, max_tokens, temperature, top_p, stop"

  @case:worker/validation/4 @M0-W-1302 @must @quick
  Scenario: A refused value is named, a refused prompt is not repeated
    Given a worker
    When a job is sent with
      | field       | value                              |
      | prompt      | "a secret that must not come back" |
      | stop        | ["another secret that must not come back, a stop sequence that is longer than a hundred bytes, as nobody would ever write"] |
      | temperature | 9.5                                |
    Then the answer is 400 with the code "INVALID_REQUEST"
    And the answer is JSON
    And the answer matches the contract "error_body"
    And the answer does not contain "must not come back"

  @case:worker/validation/5 @M0-W-1302 @must @quick
  Scenario Outline: A body that is no request gets the same form: <key>
    Given a worker
    When the body <body> is posted to "/execute"
    Then the answer is 400 with the code "INVALID_REQUEST"
    And the answer matches the contract "error_body"

    Examples:
      | key           | body                                              |
      | broken-json   | {"job_id": "x", "prompt":                         |
      | empty         | (empty)                                           |
      | two-values    | {"job_id":"x","prompt":"Hello.","max_tokens":1} {} |
      | list          | []                                                |
      | string        | "Hello."                                          |
      | not-a-number  | {"job_id":"x","prompt":"Hello.","temperature":NaN} |
      | infinite      | {"job_id":"x","prompt":"Hello.","temperature":1e400} |
      | infinity      | {"job_id":"x","prompt":"Hello.","top_p":Infinity} |
      | invalid-utf-8 | (bytes 7b 22 6a ff fe 22 7d)                      |
      | over-1-mib    | (a request of 1048577 bytes)                      |
      | deep-nesting  | (100000 times "[")                                |

  @case:worker/validation/6 @M0-W-1302 @must @quick
  Scenario Outline: A content type that is not JSON gets 415: <type>
    Given a worker
    When a job is sent with the content type "<type>"
    Then the answer is 415 with the code "UNSUPPORTED_MEDIA_TYPE"

    Examples:
      | key   | type                              |
      | plain | text/plain                        |
      | form  | application/x-www-form-urlencoded |

  @case:worker/validation/7 @M0-W-1302 @must @quick
  Scenario: A content type may carry its character set
    Given a worker
    When a job is sent with the content type "application/json; charset=utf-8"
    Then the answer is 200

  @case:worker/validation/8 @LL-W-120 @must @quick
  Scenario: A prompt is measured in characters, not in bytes
    Given a worker
    When a job is sent with
      | field  | value             |
      | prompt | (32768 times "é") |
    Then no failure is listed for the length of "prompt"

  @case:worker/validation/9 @LL-W-121 @must @quick
  Scenario: A refused request leaves the worker as it was
    Given a worker
    When the body {"job_id": is posted to "/execute"
    And a job is sent
    Then the stream obeys every rule

  @case:worker/validation/10 @LL-W-122 @must @quick
  Scenario Outline: An unknown address or method is refused: <key>
    Given a worker
    When <method> "<path>" is asked
    Then the answer is <statuses>

    Examples:
      | key         | method | path       | statuses |
      | no-route    | GET    | /no-such   | 404      |
      | get-execute | GET    | /execute   | 404 or 405 |
      | get-cancel  | GET    | /cancel    | 404 or 405 |
      | post-health | POST   | /health    | 404 or 405 |

  @case:worker/validation/11 @LL-W-123 @must @quick
  Scenario Outline: A cancel without a proper job id is refused: <key>
    Given a worker
    When the body <body> is posted to "/cancel"
    Then the answer is 400 with the code "INVALID_REQUEST"

    Examples:
      | key         | body           |
      | no-job-id   | {}             |
      | wrong-type  | {"job_id": 7}  |
      | broken-json | {"job_id"      |

  @case:worker/validation/12 @LL-W-124 @must
  Scenario: A prompt that does not fit the context is refused, not cut
    Given a worker that computes
    When a job is sent with a prompt that the context can't hold
    Then the answer is 400 with the code "INVALID_REQUEST"
    And the answer lists exactly the fields "prompt"

  @case:worker/validation/13 @M0-W-1302 @must @quick
  Scenario: A prompt that is refused for its length is not repeated
    Given a worker
    When a job is sent with
      | field  | value             |
      | prompt | (32769 times "p") |
    Then the answer is 400 with the code "INVALID_REQUEST"
    And the answer does not contain "pppppppppppppppp"
