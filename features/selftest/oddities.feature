@selftest
Feature: Oddities that the harness accepts
  A worker that is unusual in one thing, and right. A harness that refuses it is wrong about a right worker.

  @case:selftest/oddities @LL-S-002 @must
  Scenario Outline: What is only unusual passes: <oddity>
    Given the scripted worker that has the oddity "<oddity>"
    When the cases "<cases>" judge it
    Then it is passed

    Examples:
      | oddity                   | cases                                                               |
      | cr-lf                    | worker/execute/9, worker/execute/11                                 |
      | lone-cr                  | worker/execute/9, worker/execute/11                                 |
      | leading-bom              | worker/execute/9, worker/execute/11                                 |
      | data-first               | worker/execute/9, worker/execute/11                                 |
      | no-blank-after-colon     | worker/execute/9, worker/execute/11                                 |
      | comments                 | worker/execute/9, worker/execute/11                                 |
      | long-line                | worker/execute/2, worker/execute/9                                  |
      | unknown-fields           | worker/execute/9, worker/execute/11                                 |
      | unknown-events           | worker/execute/9, worker/execute/11                                 |
      | id-and-retry             | worker/execute/9, worker/execute/11                                 |
      | many-blank-lines         | worker/execute/9, worker/execute/11                                 |
      | event-without-data       | worker/execute/2, worker/execute/3, worker/execute/11               |
      | cut-anywhere             | worker/execute/9, worker/sampling/9                                 |
      | one-byte-at-a-time       | worker/execute/9                                                    |
      | several-writes           | worker/execute/9, worker/execute/11                                 |
      | ends-with-connection     | worker/execute/9, worker/execute/11                                 |
      | chunk-extensions         | worker/execute/9, worker/execute/11                                 |
      | chunk-trailers           | worker/execute/9, worker/execute/11                                 |
      | head-in-pieces           | worker/execute/9, worker/health/1                                   |
      | interim-response         | worker/execute/9, worker/validation/1/prompt-empty, worker/cancel/3 |
      | lower-case-headers       | worker/execute/9, worker/correlation/1                              |
      | content-type-parameter   | worker/execute/9, worker/execute/11                                 |
      | escaped-unicode          | worker/execute/9, worker/execute/11                                 |
      | spaced-json              | worker/execute/9, worker/execute/11                                 |
      | other-key-order          | worker/execute/9, worker/execute/11                                 |
      | fractional-times         | worker/execute/9, worker/execute/11                                 |
      | offset-for-z             | worker/execute/9, worker/execute/11                                 |
      | health-extras            | worker/health/1                                                     |
      | no-metrics-events        | worker/execute/4                                                    |
      | metrics-after-each-token | worker/execute/3, worker/execute/4                                  |
      | waiting-comments         | worker/queue/3                                                      |
      | head-held-back           | worker/cancel/7, worker/queue/3                                     |
      | null-refused             | worker/execute/9                                                    |
      | retry-after-date         | worker/queue/5                                                      |
      | token-ids                | worker/execute/4                                                    |
