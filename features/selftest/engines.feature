@selftest
Feature: An engine that pretends, or errs in its own words
  The scripted engine answers as llama-server does, in both APIs, with an honest worker behind it; `llorch scripted-engine
  --help` says what each mistake is. In llama-server's place it has to fall from the rungs of the real lane.

  @case:selftest/engines/stand-in @LL-S-007 @must
  Scenario Outline: A stub in llama-server's place is caught by the rung: <mistake>
    Given the scripted engine in llama-server's place, that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake     | case      |
      | canned-text | haiku/9/1 |
      | echo        | haiku/9/2 |
      | other-model | haiku/9/3/gpt2 |

  @case:selftest/engines/stand-in-honest @LL-S-007 @must
  Scenario: What really computes is passed in llama-server's place
    Given the scripted engine in llama-server's place, that is honest
    When the cases "haiku/9/1, haiku/9/2, haiku/9/3/gpt2" judge it
    Then it is passed

  @case:selftest/engines/honest @LL-S-007 @must
  Scenario Outline: The honest engine passes, asked as <api>: <key>
    Given the scripted engine asked as <api>, that is honest
    When the cases "<cases>" judge it
    Then it is passed

    Examples:
      | key                      | api      | cases                                                                |
      | llamacpp-form            | llamacpp | api/stream/1, api/stream/2, api/stream/3, api/stream/4, api/stream/6 |
      | llamacpp-requests        | llamacpp | api/requests                                                         |
      | llamacpp-known           | llamacpp | api/stream/5, haiku/2/1                                              |
      | llamacpp-drawn           | llamacpp | haiku/2/2, haiku/2/3                                                 |
      | llamacpp-fresh           | llamacpp | haiku/4/1, api/cancel/3                                              |
      | llamacpp-arrivals        | llamacpp | api/stream/7                                                         |
      | llamacpp-abandoned       | llamacpp | api/cancel/1                                                         |
      | llamacpp-abandoned-whole | llamacpp | api/cancel/2                                                         |
      | openai-form              | openai   | api/stream/1, api/stream/2, api/stream/3, api/stream/4, api/stream/6 |
      | openai-requests          | openai   | api/requests                                                         |
      | openai-known             | openai   | api/stream/5, haiku/2/1                                              |
      | openai-drawn             | openai   | haiku/2/2, haiku/2/3                                                 |
      | openai-fresh             | openai   | haiku/4/1, api/cancel/3                                              |
      | openai-arrivals          | openai   | api/stream/7                                                         |
      | openai-abandoned         | openai   | api/cancel/1                                                         |
      | openai-abandoned-whole   | openai   | api/cancel/2                                                         |
      | openai-chat              | openai   | api/stream/8                                                         |

  @case:selftest/engines/llamacpp @LL-S-007 @must
  Scenario Outline: A mistake in llama-server's words is caught: <mistake>
    Given the scripted engine asked as llamacpp, that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake               | case                           |
      | canned-text           | haiku/2/1                      |
      | garbled-event         | api/stream/1                   |
      | named-events          | api/stream/1                   |
      | cut-short             | api/stream/1                   |
      | no-done               | api/stream/2                   |
      | no-reason             | api/stream/2                   |
      | text-after-end        | api/stream/2                   |
      | made-wrong            | api/stream/3                   |
      | another-answer        | api/stream/4                   |
      | prompt-wrong          | api/stream/5                   |
      | whole-differs         | api/stream/6                   |
      | burst                 | api/stream/7                   |
      | takes-anything        | api/requests/1/temperature-text |
      | error-without-message | api/requests/1/temperature-text |
      | context-ignored       | api/requests/4                 |
      | deaf                  | api/cancel/1                   |
      | deaf-whole            | api/cancel/2                   |
      | seed-ignored          | haiku/2/3                      |
      | temperature-ignored   | haiku/2/2                      |
      | stop-ignored          | worker/sampling/6              |
      | other-model           | haiku/4/1                      |

  @case:selftest/engines/openai @LL-S-007 @must
  Scenario Outline: A mistake in OpenAI's words is caught: <mistake>
    Given the scripted engine asked as openai, that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake               | case                            |
      | canned-text           | haiku/2/1                       |
      | garbled-event         | api/stream/1                    |
      | named-events          | api/stream/1                    |
      | cut-short             | api/stream/1                    |
      | no-done               | api/stream/2                    |
      | no-reason             | api/stream/2                    |
      | text-after-end        | api/stream/2                    |
      | made-wrong            | api/stream/3                    |
      | another-answer        | api/stream/4                    |
      | prompt-wrong          | api/stream/5                    |
      | whole-differs         | api/stream/6                    |
      | burst                 | api/stream/7                    |
      | takes-anything        | api/requests/2                  |
      | error-without-message | api/requests/1/temperature-text |
      | context-ignored       | api/requests/4                  |
      | deaf                  | api/cancel/1                    |
      | deaf-whole            | api/cancel/2                    |
      | seed-ignored          | haiku/2/3                       |
      | temperature-ignored   | haiku/2/2                       |
      | other-model           | haiku/4/1                       |

  @case:selftest/engines/real @LL-S-007 @must @lane:real-llama
  Scenario Outline: A real llama-server is passed: <key>
    Given the real llama-server asked as <api>
    When the cases "<cases>" judge it
    Then it is passed

    Examples:
      | key                | api      | cases                                                                |
      | llamacpp-form      | llamacpp | api/stream/1, api/stream/2, api/stream/3, api/stream/4, api/stream/6 |
      | llamacpp-requests  | llamacpp | api/requests/1, api/requests/2, api/requests/4                       |
      | llamacpp-known     | llamacpp | api/stream/5, haiku/2/1                                              |
      | llamacpp-drawn     | llamacpp | haiku/2/2, haiku/2/3                                                 |
      | llamacpp-fresh     | llamacpp | haiku/4/1, api/cancel/3                                              |
      | llamacpp-arrivals  | llamacpp | api/stream/7                                                         |
      | llamacpp-abandoned | llamacpp | api/cancel/1                                                         |
      | openai-form        | openai   | api/stream/1, api/stream/2, api/stream/3, api/stream/4, api/stream/6 |
      | openai-requests    | openai   | api/requests/1, api/requests/2, api/requests/4                       |
      | openai-known       | openai   | api/stream/5, haiku/2/1                                              |
      | openai-drawn       | openai   | haiku/2/2, haiku/2/3                                                 |
      | openai-fresh       | openai   | haiku/4/1, api/cancel/3                                              |
      | openai-arrivals    | openai   | api/stream/7                                                         |
      | openai-abandoned   | openai   | api/cancel/1                                                         |
      | openai-chat        | openai   | api/stream/8                                                         |
