@selftest
Feature: Mistakes of an orchestrator that the harness catches
  A relay before a real orchestrator makes one mistake each time; the case that a reader would look for first catches it.

  @case:selftest/chain/stream @LL-S-006 @must
  Scenario Outline: A mistake in the stream is caught: <mistake>
    Given an orchestrator that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                  | case                   |
      | frame-dropped            | orchestrator/tasks/1   |
      | frames-swapped           | orchestrator/tasks/1   |
      | id-repeated              | orchestrator/tasks/1   |
      | id-missing               | orchestrator/tasks/1   |
      | token-renamed            | orchestrator/tasks/1   |
      | index-from-one           | orchestrator/tasks/1   |
      | started-missing          | orchestrator/tasks/1   |
      | started-without-position | orchestrator/tasks/1   |
      | end-missing              | orchestrator/tasks/1   |
      | end-twice                | orchestrator/tasks/1   |
      | end-without-seed         | orchestrator/tasks/1   |
      | end-without-decode-ms    | orchestrator/tasks/1   |
      | tokens-out-inflated      | orchestrator/tasks/1   |
      | error-without-retriable  | orchestrator/failure/1 |
      | reset-said-internal      | orchestrator/failure/1 |
      | burst                    | orchestrator/stream/6  |
      | resume-from-start        | orchestrator/stream/1  |
      | resume-skips-one         | orchestrator/stream/1  |
      | resume-runs-again        | orchestrator/stream/3  |
      | gone-is-silent           | orchestrator/stream/4  |
      | verbose-ignored          | orchestrator/stream/5  |
      | always-verbose           | orchestrator/stream/5  |

  @case:selftest/chain/cancel @LL-S-006 @must
  Scenario Outline: A mistake in cancel and disconnect is caught: <mistake>
    Given an orchestrator that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake            | case                   |
      | cancelled-with-end | orchestrator/stream/7  |
      | token-after-cancel | orchestrator/stream/7  |
      | cancel-ignored     | orchestrator/stream/7  |
      | cancel-twice-404   | orchestrator/stream/8  |
      | cancel-unknown-204 | orchestrator/stream/9  |
      | grace-ignored      | orchestrator/stream/10 |
      | disconnect-ignored | orchestrator/stream/11 |

  @case:selftest/chain/admission @LL-S-006 @must
  Scenario Outline: A mistake in admission is caught: <mistake>
    Given an orchestrator that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                | case                               |
      | admitted-with-200      | orchestrator/tasks/1               |
      | position-from-one      | orchestrator/tasks/1               |
      | seed-dropped           | orchestrator/tasks/1               |
      | sampling-dropped       | orchestrator/tasks/3/top_k         |
      | stop-dropped           | orchestrator/tasks/4               |
      | ctx-ignored            | orchestrator/tasks/6               |
      | deadline-ignored       | orchestrator/tasks/7               |
      | priority-ignored       | orchestrator/admission/2           |
      | retry-after-disagrees  | orchestrator/admission/3           |
      | backoff-missing        | orchestrator/admission/3           |
      | queue-unbounded        | orchestrator/admission/3           |
      | sentinel               | orchestrator/admission/5           |
      | predicted-at-once      | orchestrator/admission/6           |
      | predicted-late         | orchestrator/admission/6           |
      | unknown-field-accepted | orchestrator/admission/7/shoe_size |
      | error-flat             | orchestrator/admission/7/ctx       |
      | code-misspelt          | orchestrator/admission/7/ctx       |
      | one-error-only         | orchestrator/admission/8           |
      | duplicate-accepted     | orchestrator/admission/9           |
      | budget-dropped         | orchestrator/admission/11          |
      | placement-ignored      | orchestrator/placement/2/pool-b    |
      | steps-untold           | orchestrator/preparation/1/whole   |

  @case:selftest/chain/story @LL-S-006 @must
  Scenario Outline: A mistake in access, logs and counters is caught: <mistake>
    Given an orchestrator that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                | case                           |
      | correlation-not-echoed | orchestrator/tasks/1           |
      | wrong-token-told       | orchestrator/access/1          |
      | any-token              | orchestrator/access/1          |
      | metrics-locked         | orchestrator/access/2/_metrics |
      | token-in-log           | orchestrator/access/5          |
      | tokens-doubled         | orchestrator/story/1           |
      | counter-ticks          | orchestrator/story/2           |
      | task-id-label          | orchestrator/story/2           |
      | correlation-not-logged | orchestrator/story/3           |
      | narration-missing      | orchestrator/story/3           |
      | narration-long         | orchestrator/story/3           |
      | prompt-in-log          | orchestrator/story/4           |
      | route-undescribed      | orchestrator/story/5           |
      | document-untrue        | orchestrator/story/5           |
      | operations-unnamed     | orchestrator/story/5           |
      | catalog-forgets        | orchestrator/story/6           |
      | session-forgets        | orchestrator/story/7           |

  @case:selftest/chain/nodes @LL-S-006 @must
  Scenario Outline: A mistake in nodes, pools and restarts is caught: <mistake>
    Given an orchestrator that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake                | case                             |
      | stale-is-online        | orchestrator/placement/5         |
      | unknown-node-200       | orchestrator/placement/6         |
      | heartbeat-without-pace | orchestrator/placement/7         |
      | drain-ignored          | pool/nodes/4                     |
      | reload-ignored         | pool/nodes/5                     |
      | purge-ignored          | pool/nodes/6                     |
      | state-lost             | orchestrator/failure/4/is_killed |

  @case:selftest/chain/cases @LL-S-006 @must
  Scenario Outline: Every other case catches a mistake too: <case>
    Given an orchestrator that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | case                                  | mistake               |
      | orchestrator/access/3                 | one-token-only        |
      | orchestrator/access/4                 | any-token             |
      | orchestrator/admission/1              | second-waits          |
      | orchestrator/admission/4              | drop-said-cancelled   |
      | orchestrator/admission/10             | absent-admitted       |
      | orchestrator/admission/12             | bound-at-eight        |
      | orchestrator/admission/13             | budget-said-deadline  |
      | orchestrator/failure/2                | place-untrue          |
      | orchestrator/failure/3                | reset-said-internal   |
      | orchestrator/failure/6                | state-lost            |
      | orchestrator/failure/7                | reset-said-internal   |
      | orchestrator/failure/8                | timeout-said-internal |
      | orchestrator/failure/9                | reset-said-internal   |
      | orchestrator/placement/1              | place-untrue          |
      | orchestrator/placement/3/no_such_pool | placement-ignored     |
      | orchestrator/placement/4              | placement-ignored     |
      | orchestrator/placement/8              | context-untold        |
      | orchestrator/placement/9/round-robin  | place-untrue          |
      | orchestrator/placement/10             | place-untrue          |
      | orchestrator/placement/11/avoided     | placement-ignored     |
      | orchestrator/placement/12             | drain-ignored         |
      | orchestrator/preparation/1/whole      | steps-never-done      |
      | orchestrator/preparation/2            | absent-said-internal  |
      | orchestrator/preparation/3/never      | policy-ignored        |
      | orchestrator/preparation/4            | catalog-forgets       |
      | orchestrator/story/8                  | tokens-doubled        |
      | orchestrator/story/9/ORCHD_ADDR       | setting-unnamed       |
      | orchestrator/story/10/open-to-all     | setting-unnamed       |
      | orchestrator/stream/2                 | resume-skips-one      |
      | orchestrator/stream/12                | cancel-ignored        |
      | orchestrator/stream/13                | resume-from-start     |
      | orchestrator/tasks/2                  | seed-dropped          |
      | orchestrator/tasks/5                  | end-without-seed      |
      | orchestrator/tasks/8                  | hint-dropped          |
      | pool/nodes/1                          | rewrite-not-followed  |
      | pool/nodes/2                          | readiness-sticks      |
      | pool/nodes/3                          | failure-untold        |
      | pool/nodes/7                          | orphan-left           |
      | pool/nodes/8/POOL_MANAGERD_ADDR       | setting-unnamed       |
      | pool/engines/3/no-tools               | reason-untold         |
      | pool/engines/4                        | reason-untold         |
      | pool/engines/5                        | key-open              |
      | pool/engines/6                        | reason-untold         |
      | pool/engines/7                        | engine-untold         |
      | pool/engines/8                        | absent-said-internal  |
      | pool/engines/9                        | absent-said-internal  |

  @case:selftest/chain/engines @LL-S-006 @must
  Scenario Outline: A mistake of a provisioner is caught: <mistake>
    Given an orchestrator that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake          | case                    |
      | handoff-stays    | pool/engines/5          |
      | half-build-stays | pool/engines/3/no-tools |

  @case:selftest/chain/builds @LL-S-006 @must @lane:cmake
  Scenario Outline: A mistake in a build is caught: <mistake>
    Given an orchestrator that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake       | case                 |
      | built-again   | pool/engines/1       |
      | reason-untold | pool/engines/2/wrong |

  @case:selftest/chain/documents @LL-S-006 @must @lane:schemathesis
  Scenario Outline: A document that is not true is caught: <case>
    Given an orchestrator that makes the mistake "document-untrue"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | case                                          |
      | orchestrator/described/1/the_orchestrator     |
      | orchestrator/described/1/node_a               |
      | orchestrator/described/1/the_worker_of_node_a |

  @case:selftest/chain/storm @LL-S-006 @must @serial
  Scenario Outline: A storm shows a mistake: <mistake>
    Given an orchestrator that makes the mistake "<mistake>"
    When the case "<case>" judges it
    Then it is caught

    Examples:
      | mistake             | case                                    |
      | state-lost          | orchestrator/failure/5/the_orchestrator |
      | orphan-left         | orchestrator/failure/5/a_pool_manager   |
      | frame-dropped       | orchestrator/failure/5/a_worker         |
