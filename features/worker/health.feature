Feature: Health
  GET /health answers from cached state, whatever the worker is computing: a pool manager steers by it.

  @case:worker/health/1 @M0-W-1320 @must @quick
  Scenario: Health says what the worker holds
    Given a worker
    When GET "/health" is asked
    Then the answer is 200
    And the answer is JSON
    And the answer matches the contract "health"

  @case:worker/health/2 @SYS-6.3.7 @must @quick
  Scenario: A worker that serves has its model loaded and says healthy
    Given a worker
    When GET "/health" is asked
    Then the answer's field "status" is "healthy"
    And the answer's field "model_loaded" is true

  @case:worker/health/3 @SYS-6.3.8 @must
  Scenario: Health answers while a token is being computed
    Given a worker with long jobs
    When a long job is sent as "busy"
    And the first token of "busy" has arrived
    Then health answers 20 times while "busy" goes on

  @case:worker/health/4 @LL-W-101 @must
  Scenario: Health carries the worker id it was started with
    Given a fresh worker
    When GET "/health" is asked
    Then the answer's field "worker_id" is the id the worker was started with

  @case:worker/health/5 @LL-W-102 @should
  Scenario: The uptime grows
    Given a worker
    Then the uptime grows within 3 seconds

  @case:worker/health/6 @LL-W-103 @must @quick
  Scenario: The memory that health reports is real
    Given a worker that computes
    When GET "/health" is asked
    Then the answer's field "memory_bytes" is above 0
