@selftest
Feature: Mistakes that the harness catches
  A worker that is wrong on purpose, in one thing each time, is judged by the case that a reader would look for first.
  What each mistake is says the table of the scripted worker (`llorch scripted-worker --help`).

  @case:selftest/mistakes/callback @LL-S-001 @must
  Scenario Outline: A mistake in the ready callback is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                   | case                  |
      | callback-before-listening | worker/callback/2     |
      | callback-fields-missing   | worker/callback/1     |
      | callback-other-worker     | worker/callback/1     |
      | callback-wildcard-uri     | worker/callback/1     |
      | callback-other-port       | worker/callback/13    |
      | callback-failure-ignored  | worker/callback/6     |
      | callback-once             | worker/callback/6     |
      | callback-endless          | worker/callback/6     |
      | callback-only-200         | worker/callback/4/204 |
      | callback-without-bearer   | worker/callback/9     |
      | callback-by-get           | worker/callback/1     |
      | callback-twice            | worker/callback/3     |
      | callback-without-timeout  | worker/callback/8     |
      | test-mode-calls           | worker/callback/10    |
      | test-mode-by-prefix       | worker/callback/11    |

  @case:selftest/mistakes/process @LL-S-001 @must
  Scenario Outline: A mistake in start and stop is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                  | case                        |
      | exit-zero-on-failed-load | worker/start/3              |
      | failed-load-silent       | worker/start/3              |
      | failed-load-serves       | worker/start/3              |
      | bad-flag-ignored         | worker/start/2/unknown-flag |
      | sigterm-ignored          | worker/shutdown/1/sigterm   |
      | sigint-ignored           | worker/shutdown/1/sigint    |
      | sigterm-drops-job        | worker/shutdown/3           |
      | sigterm-accepts-jobs     | worker/shutdown/4           |
      | drain-runs-queue         | worker/shutdown/5           |
      | drain-without-deadline   | worker/shutdown/7           |
      | second-signal-ignored    | worker/shutdown/6           |
      | exit-one-on-stop         | worker/shutdown/1/sigterm   |
      | shutdown-missing         | worker/shutdown/2           |
      | shutdown-leaves-running  | worker/shutdown/1/shutdown  |
      | one-shot                 | worker/start/9              |

  @case:selftest/mistakes/queue @LL-S-001 @must
  Scenario Outline: A mistake in the queue is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                  | case              |
      | busy-without-retry-after | worker/queue/5    |
      | busy-429                 | worker/queue/5    |
      | queue-unbounded          | worker/queue/5    |
      | queue-last-first         | worker/queue/2    |
      | started-while-waiting    | worker/queue/3    |
      | two-at-once              | worker/queue/1    |
      | duplicate-accepted       | worker/queue/6    |
      | duplicate-for-ever       | worker/execute/13 |

  @case:selftest/mistakes/cancel @LL-S-001 @must
  Scenario Outline: A mistake in cancel is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                | case             |
      | cancel-ignored         | worker/cancel/1  |
      | cancel-unknown-404     | worker/cancel/3  |
      | cancel-not-idempotent  | worker/cancel/5  |
      | cancel-answers-200     | worker/cancel/1  |
      | cancel-waits           | worker/cancel/1  |
      | cancel-any-job         | worker/cancel/10 |
      | cancel-remembered      | worker/cancel/11 |
      | cancelled-with-end     | worker/cancel/1  |
      | cancelled-silently     | worker/cancel/1  |
      | token-after-cancelled  | worker/cancel/1  |
      | leftover-tokens        | worker/cancel/6  |
      | disconnect-ignored     | worker/cancel/8  |
      | waiting-cancel-ignored | worker/cancel/7  |
      | waiting-cancel-starts  | worker/cancel/7  |

  @case:selftest/mistakes/health @LL-S-001 @must
  Scenario Outline: A mistake in health is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                | case                   |
      | health-blocks          | worker/health/3        |
      | health-field-missing   | worker/health/1        |
      | health-wrong-type      | worker/health/1        |
      | health-other-status    | worker/health/2        |
      | health-as-text         | worker/health/1        |
      | health-fails-until-job | worker/start/1         |
      | health-other-worker    | worker/health/4        |
      | health-no-memory       | worker/health/6        |
      | health-frozen-clock    | worker/health/5        |
      | health-locked          | worker/access/4/health |

  @case:selftest/mistakes/stream @LL-S-001 @must
  Scenario Outline: A mistake in the event stream is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                 | case                                      |
      | data-without-event      | worker/execute/2/event-line               |
      | type-tag-only           | worker/execute/2/event-line               |
      | two-terminal-events     | worker/execute/3/terminal-once            |
      | token-after-end         | worker/execute/3/no-token-after-terminal  |
      | metrics-after-end       | worker/execute/3/terminal-last            |
      | done-marker             | worker/execute/3/terminal-last            |
      | end-missing             | worker/execute/3/terminal-once            |
      | never-ends              | worker/execute/3/terminal-once            |
      | error-then-continues    | worker/execute/3/no-token-after-terminal  |
      | end-after-error         | worker/cancel/1                           |
      | error-without-retriable | worker/cancel/1                           |
      | unknown-error-code      | worker/cancel/1                           |
      | started-missing         | worker/execute/3/started-first            |
      | started-twice           | worker/execute/3/started-once             |
      | started-without-model   | worker/execute/4/started-fields           |
      | started-at-local        | worker/execute/4/started-at               |
      | job-id-not-echoed       | worker/execute/5/job-id                   |
      | index-from-one          | worker/execute/4/token-index              |
      | index-gap               | worker/execute/4/token-index              |
      | index-stands-still      | worker/execute/4/token-index              |
      | index-counts-tokens     | worker/execute/4/token-index              |
      | token-null              | worker/execute/4/token-text               |
      | token-empty             | worker/execute/4/token-text               |
      | replacement-characters  | worker/execute/5/no-replacement-character |
      | invalid-utf8            | worker/execute/2/utf8                     |
      | blanks-stripped         | worker/sampling/9                         |
      | extra-blanks            | worker/sampling/9                         |
      | cumulative-text         | worker/execute/4/own-text                 |
      | data-nested-as-string   | worker/execute/2/json-data                |
      | data-on-many-lines      | worker/execute/2/one-line-data            |
      | end-without-seed        | worker/execute/4/end-fields               |
      | seed-differs            | worker/execute/5/seed-equal               |
      | stop-reason-missing     | worker/execute/4/stop-reason              |
      | stop-reason-lower-case  | worker/execute/4/stop-reason              |
      | stop-matched-missing    | worker/execute/4/end-fields               |
      | decode-time-missing     | worker/execute/4/end-fields               |
      | tokens-out-wrong        | worker/execute/6/2                        |
      | tokens-out-as-text      | worker/execute/4/end-fields               |
      | one-burst               | worker/execute/7                          |
      | wrong-content-type      | worker/execute/1                          |
      | gzip                    | worker/execute/1                          |
      | no-final-blank-line     | worker/execute/2/frame-complete           |
      | reset-mid-event         | worker/execute/3/clean-end                |
      | unfinished-chunking     | worker/execute/3/clean-end                |

  @case:selftest/mistakes/sampling @LL-S-001 @must
  Scenario Outline: A mistake in sampling and limits is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake               | case                                  |
      | seed-ignored          | worker/sampling/1                     |
      | seed-without-effect   | worker/sampling/3                     |
      | seed-through-double   | worker/execute/10/seed-beyond-doubles |
      | seed-always-same      | worker/execute/14                     |
      | state-carried-over    | worker/sampling/2                     |
      | greedy-random         | worker/sampling/4                     |
      | greedy-uses-seed      | worker/sampling/4                     |
      | temperature-ignored   | worker/sampling/15                    |
      | top-k-ignored         | worker/sampling/5/top_k               |
      | top-p-ignored         | worker/sampling/5/top_p               |
      | min-p-ignored         | worker/sampling/5/min_p               |
      | penalty-ignored       | worker/sampling/14/repetition-penalty |
      | prompt-ignored        | worker/sampling/7                     |
      | max-tokens-ignored    | worker/execute/6/2                    |
      | max-tokens-off-by-one | worker/execute/6/1                    |
      | default-max-tokens    | worker/execute/15                     |
      | eos-not-counted       | worker/sampling/13                    |
      | stop-ignored          | worker/sampling/6                     |
      | stop-emitted          | worker/sampling/6                     |
      | stop-per-token        | worker/sampling/9                     |
      | stop-tail-lost        | worker/sampling/10                    |
      | stop-last-wins        | worker/sampling/11                    |
      | stop-said-eos         | worker/sampling/6                     |

  @case:selftest/mistakes/request @LL-S-001 @must
  Scenario Outline: A mistake in requests and refusals is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                   | case                                  |
      | range-unchecked           | worker/validation/1/temperature-high  |
      | first-error-only          | worker/validation/3                   |
      | prompt-echoed             | worker/validation/4                   |
      | bad-request-as-text       | worker/validation/4                   |
      | bad-request-422           | worker/validation/1/prompt-empty      |
      | bad-request-other-code    | worker/validation/1/prompt-empty      |
      | bad-request-in-stream     | worker/validation/1/prompt-empty      |
      | errors-without-constraint | worker/validation/4                   |
      | unknown-fields-refused    | worker/execute/9                      |
      | malformed-json-500        | worker/validation/5/broken-json       |
      | trailing-garbage-accepted | worker/validation/5/two-values        |
      | numbers-from-text         | worker/validation/2/max-tokens-string |
      | overflow-drops            | worker/validation/5/infinite          |
      | missing-job-id-accepted   | worker/validation/1/job-id-missing    |
      | job-id-unchecked          | worker/validation/1/job-id-blank      |
      | job-id-in-comment         | worker/validation/1/job-id-newline    |
      | prompt-in-bytes           | worker/validation/8                   |
      | long-prompt-cut           | worker/validation/12                  |
      | stop-limits-unchecked     | worker/validation/1/stop-five         |
      | body-limit-missing        | worker/validation/5/over-1-mib        |
      | content-type-unchecked    | worker/validation/6/plain             |
      | content-type-400          | worker/validation/6/plain             |

  @case:selftest/mistakes/access @LL-S-001 @must
  Scenario Outline: A mistake in access and correlation is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                       | case                           |
      | token-unchecked               | worker/access/1/execute-none   |
      | token-prefix-accepted         | worker/access/1/execute-longer |
      | cancel-open                   | worker/access/1/cancel-none    |
      | shutdown-open                 | worker/access/1/shutdown-none  |
      | unauthorized-403              | worker/access/1/execute-none   |
      | unauthorized-tells            | worker/access/3                |
      | public-bind-accepted          | worker/access/6                |
      | correlation-not-echoed        | worker/correlation/1           |
      | correlation-replaced          | worker/correlation/1           |
      | correlation-unchecked         | worker/correlation/3/markup    |
      | correlation-constant          | worker/correlation/6           |
      | correlation-missing-on-errors | worker/correlation/5           |

  @case:selftest/mistakes/metrics @LL-S-001 @must
  Scenario Outline: A mistake in metrics is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                | case             |
      | counter-idles          | worker/metrics/3 |
      | scrapes-differ         | worker/metrics/3 |
      | token-counter-wrong    | worker/metrics/4 |
      | token-counter-resets   | worker/metrics/4 |
      | requests-total-missing | worker/metrics/1 |
      | cancelled-as-success   | worker/metrics/6 |
      | metrics-as-json        | worker/metrics/1 |

  @case:selftest/mistakes/log @LL-S-001 @must
  Scenario Outline: A mistake in the log is caught: <mistake>
    Given the scripted worker that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                | case                 |
      | prompt-in-log          | worker/logs/2        |
      | text-in-log            | worker/logs/2        |
      | log-not-json           | worker/logs/1        |
      | log-nested             | worker/logs/1        |
      | startup-out-of-order   | worker/start/5       |
      | correlation-not-logged | worker/correlation/4 |
      | token-in-log           | worker/access/5      |
