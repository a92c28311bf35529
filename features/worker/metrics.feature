Feature: Metrics
  Counters that mean something: they move with the work, by exactly the work, and with nothing else.

  @case:worker/metrics/1 @LL-W-180 @must @quick
  Scenario: Metrics are Prometheus text
    Given a worker
    When the metrics are scraped
    Then the scrape carries "worker_requests_total, worker_tokens_generated_total"

  @case:worker/metrics/2 @LL-W-181 @should @quick
  Scenario: Every series of the contract is there
    Given a worker
    When a job is sent
    And the stream has ended
    And the metrics are scraped
    Then the scrape carries "worker_memory_bytes, worker_vram_bytes, worker_tokens_in_total, worker_first_token_ms, worker_inter_token_ms, worker_inference_duration_ms, worker_uptime_seconds, worker_queue_depth"

  @case:worker/metrics/3 @LL-W-182 @must @serial
  Scenario: Two scrapes without traffic are equal, uptime aside
    Given a worker
    When the metrics are scraped
    And the metrics are scraped
    Then both scrapes are equal, uptime aside

  @case:worker/metrics/4 @LL-W-183 @must @serial
  Scenario: The token counter rises by exactly what the job said
    Given a worker
    When a job is sent
    And the stream has ended
    And the metrics are scraped
    And a job is sent
    And the stream has ended
    Then "worker_tokens_generated_total" has risen by the job's tokens_out

  @case:worker/metrics/5 @LL-W-184 @must @serial
  Scenario: A job that succeeds is counted once
    Given a worker
    When the metrics are scraped
    And a job is sent
    And the stream has ended
    Then "worker_requests_total" with outcome "success" has risen by 1

  @case:worker/metrics/6 @LL-W-184 @must @serial
  Scenario: A job that is cancelled is counted as cancelled
    Given a worker with long jobs
    When the metrics are scraped
    And a long job is sent as "victim"
    And the first token of "victim" has arrived
    And the job "victim" is cancelled
    And "victim" has ended
    Then "worker_requests_total" with outcome "cancelled" has risen by 1

  @case:worker/metrics/7 @LL-W-185 @must
  Scenario: Metrics answer while a token is being computed
    Given a worker with long jobs
    When a long job is sent as "busy"
    And the first token of "busy" has arrived
    And the metrics are scraped
    Then "busy" goes on
