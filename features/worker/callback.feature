Feature: Ready callback
  A worker that is ready tells its pool manager, once it really answers: the pool manager may connect at once.

  @case:worker/callback/1 @SYS-6.3.4 @must @fresh
  Scenario: The callback carries every field
    Given a pool manager that accepts
    And a fresh worker that calls it back
    Then the callback matches the contract "ready_callback"
    And the callback carries the worker's id
    And the callback carries a uri at which the worker answers

  @case:worker/callback/2 @SYS-6.3.4 @must @fresh
  Scenario: The worker answers before it calls back
    Given a pool manager that accepts
    And a fresh worker that calls it back
    Then the callback is from a worker that answered already

  @case:worker/callback/3 @LL-W-010 @must @fresh
  Scenario: One acceptance is enough
    Given a pool manager that accepts
    And a fresh worker that calls it back
    Then the worker called back exactly 1 time

  @case:worker/callback/4 @LL-W-011 @must @fresh
  Scenario Outline: Any status of success is success: <status>
    Given a pool manager that answers <status>
    And a fresh worker that calls it back
    Then the worker called back exactly 1 time

    Examples:
      | status |
      | 201    |
      | 202    |
      | 204    |

  @case:worker/callback/5 @LL-W-012 @must @fresh
  Scenario: A pool manager that fails once is asked again
    Given a pool manager that fails once
    And a fresh worker that calls it back
    Then the worker called back exactly 2 times

  @case:worker/callback/6 @LL-W-013 @must @fresh
  Scenario: A pool manager that always fails ends the worker after three attempts
    Given a pool manager that always fails
    When the worker is started to call it back
    Then the worker exits with a code other than 0 within 60 seconds
    And the worker called back exactly 3 times

  @case:worker/callback/7 @LL-W-014 @must @fresh
  Scenario: A pool manager that refuses the connection ends the worker
    Given a pool manager that refuses the connection
    When the worker is started to call it back
    Then the worker exits with a code other than 0 within 60 seconds

  @case:worker/callback/8 @LL-W-015 @must @fresh
  Scenario: A pool manager that never answers does not hold the worker for ever
    Given a pool manager that never answers
    When the worker is started to call it back
    Then an attempt is given up within 40 seconds

  @case:worker/callback/9 @LL-W-016 @must @fresh
  Scenario: The spawn token is the callback's bearer
    Given a pool manager that accepts
    And a fresh worker with a spawn token that calls it back
    Then the callback carries the spawn token as its bearer

  @case:worker/callback/10 @LL-W-017 @must @fresh
  Scenario: The test address is not called
    When the worker is started with the callback "http://localhost:9999/v2/internal/workers/ready"
    Then the worker answers
    And the log carries in this order
      | message                                   |
      | Test mode: skipping pool manager callback |

  @case:worker/callback/11 @LL-W-017 @must @fresh
  Scenario: An address that only resembles the test address is called
    Given a pool manager that accepts
    When the worker is started with the callback "http://localhost:99990/"
    Then the worker exits with a code other than 0 within 30 seconds

  @case:worker/callback/12 @LL-W-018 @ours @fresh
  Scenario: The attempts are apart from each other
    Given a pool manager that always fails
    When the worker is started to call it back
    Then the worker exits with a code other than 0 within 60 seconds
    And the attempts came at growing distances

  @case:worker/callback/13 @SYS-6.3.4 @must @fresh
  Scenario: Where the worker chooses its port, the callback says which
    Given a pool manager that accepts
    When the worker is started to call it back, on a port of its own choosing
    Then the callback is from a worker that answered already
