@built-in
Feature: The workers of a machine
  A worker is started after every check that can be made before, is known by its process and not by its number alone, and
  leaves nothing behind.

  @case:pool/workers/1 @LL-PC-010 @ours
  Scenario Outline: From nothing to a worker and back: <key>
    Given a pool machine whose hf brings the <shape> model
    When the command "llorch-pool models register m --name M --repo acme/m --architecture <architecture>" is run
    And the command "llorch-pool models download m" is run
    And a worker on "<backend>" is spawned for the model "m"
    And the command "llorch infer --worker 127.0.0.1:{port} --prompt 'Write a haiku about the sea' --max-tokens 40 --seed 7" is run
    Then the command exits with code 0 and says ""
    When the command "llorch-pool worker stop worker-<backend>-{gpu}" is run
    Then the command exits with code 0 and says "worker-<backend>-{gpu} is stopped"
    And the pool's worker left no file
    And the pool's worker is gone

    Examples:
      | key        | shape       | architecture | backend |
      | cpu-gpt2   | haiku       | gpt2         | cpu     |
      | cpu-shards | sharded     | gpt2         | cpu     |
      | cpu-qwen   | Qwen-shaped | qwen2        | cpu     |
      | cuda-qwen  | Qwen-shaped | qwen2        | cuda    |
      | metal-qwen | Qwen-shaped | qwen2        | metal   |

  @case:pool/workers/2 @LL-PC-011 @ours
  Scenario Outline: What can't be started is refused, and the reason is the first that holds: <key>
    Given a pool machine whose hf brings the haiku model
    When the command "llorch-pool models register haiku --name H --repo acme/h --architecture gpt2 --backend cpu" is run
    And the command "llorch-pool worker spawn <words> --gpu {gpu}" is run
    Then the command exits with code 1 and says "<says>"
    And the pool's worker left no file

    Examples:
      | key            | words                    | says                                      |
      | unknown        | abacus --model other     | there is no model "other" in the catalog  |
      | not-downloaded | abacus --model haiku     | Run: llorch-pool models download haiku    |

  @case:pool/workers/3 @LL-PC-011 @ours
  Scenario: A backend that the model does not have is refused, and those that it has are named
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool worker spawn abacus --model haiku" is run
    Then the command exits with code 1 and says "it runs on: cpu, cuda, metal"

  @case:pool/workers/4 @LL-PC-011 @ours
  Scenario: Two models in one folder are refused
    Given a pool machine that has the haiku model as "haiku"
    When meanwhile a second model comes into its folder
    And the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    Then the command exits with code 1 and says "has more than one model: another.safetensors, model.safetensors"

  @case:pool/workers/5 @LL-PC-012 @ours
  Scenario: A worker's file, its session and its log
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu} --json" is run
    Then the command prints a document with:
      | field      | value              |
      | /worker_id | "worker-cpu-{gpu}" |
      | /port      | {port}             |
      | /backend   | "cpu"              |
      | /model_id  | "haiku"            |
    And the pool's worker runs in a session of its own
    When the command "llorch-pool worker list --json" is run
    Then the command prints a document with:
      | field        | value              |
      | /0/worker_id | "worker-cpu-{gpu}" |
      | /0/state     | "running"          |
      | /1           | absent             |
    When the command "llorch-pool worker logs worker-cpu-{gpu} -n 1" is run
    Then the command exits with code 0 and says ""event":"ready""
    When the command "llorch-pool status" is run
    Then the command exits with code 0 and says "running, healthy"
    When the command "llorch-pool models delete haiku" is run
    Then the command exits with code 1 and says "worker-cpu-{gpu} serves "haiku""

  @case:pool/workers/6 @LL-PC-013 @ours
  Scenario: One worker to a place, and who has it is named
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    And the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    Then the command exits with code 1 and says "worker-cpu-{gpu} runs already"
    When the command "llorch-pool worker spawn cpu --model haiku --gpu 1 --port {port}" is run
    Then the command exits with code 1 and says "the port {port} is taken by worker-cpu-{gpu}"

  @case:pool/workers/7 @LL-PC-013 @ours
  Scenario: A port that a stranger has
    Given a pool machine that has the haiku model as "haiku"
    When meanwhile another process takes the port
    And the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    Then the command exits with code 1 and says "the port {port} is taken by"
    And the pool's worker left no file

  @case:pool/workers/8 @LL-PC-013 @ours
  Scenario: Several spawns of one place at once: one worker
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run 4 times at once
    Then 1 of them succeed, and the others say "worker-cpu-{gpu} runs already"

  @case:pool/workers/9 @LL-PC-014 @ours
  Scenario: A program that is not there
    Given a pool machine that has the haiku model as "haiku"
    When the command "LLORCH_CPUD_BIN=/nowhere/llorch-cpud llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    Then the command exits with code 1 and says "llorch-cpud, the worker for this, is not here: looked at LLORCH_CPUD_BIN=/nowhere/llorch-cpud"
    And the pool's worker left no file

  @case:pool/workers/10 @LL-PC-014 @ours
  Scenario Outline: A worker that dies at its start is an error with its last words: <key>
    Given a pool machine that has the haiku model as "haiku"
    When meanwhile the weights are cut
    And the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu} <wait>" is run
    Then the command exits with code 1 and says "MODEL_LOAD_FAILED"
    And the pool's worker left no file

    Examples:
      | key     | wait      |
      | wait    | --wait    |
      | no-wait | --no-wait |

  @case:pool/workers/11 @LL-PC-015 @ours
  Scenario: A killed worker is shown once and cleaned up, and its place is free
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    And meanwhile the worker is killed
    And the command "llorch-pool worker list --json" is run
    Then the command prints a document with:
      | field    | value  |
      | /0/state | "dead" |
    And the pool's worker left no file
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    Then the command exits with code 0 and says "is ready"

  @case:pool/workers/12 @LL-PC-015 @ours
  Scenario: A stale file keeps no place
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    And meanwhile the worker is killed
    And the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    Then the command exits with code 0 and says "is ready"
    When meanwhile the worker is killed
    And the command "llorch-pool worker stop worker-cpu-{gpu}" is run
    Then the command exits with code 0 and says "was dead already"
    And the pool's worker left no file

  @case:pool/workers/13 @LL-PC-015 @ours
  Scenario: A number that was given to another process is not the worker, and that process is left alone
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    And meanwhile the worker is killed
    And the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    And meanwhile the worker is killed
    And meanwhile the worker's number is given to another process
    And the command "llorch-pool worker stop worker-cpu-{gpu}" is run
    Then the command exits with code 0 and says "was dead already"
    And the pool's worker left no file

  @case:pool/workers/14 @LL-PC-016 @ours
  Scenario: A worker without its file is found, keeps its place and can be stopped
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    And meanwhile the worker's file is lost
    And the command "llorch-pool worker list --json" is run
    Then the command prints a document with:
      | field        | value              |
      | /0/worker_id | "worker-cpu-{gpu}" |
      | /0/state     | "orphan"           |
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    Then the command exits with code 1 and says "runs already"
    When the command "llorch-pool worker stop worker-cpu-{gpu}" is run
    Then the command exits with code 0 and says "is stopped"
    And the pool's worker is gone

  @case:pool/workers/15 @LL-PC-017 @ours
  Scenario: A worker that does not end when it is asked is made to, after its drain
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu} -- --drain-sec 0" is run
    And meanwhile the worker is frozen
    And the command "llorch-pool worker stop worker-cpu-{gpu}" is run
    Then the command exits with code 0 and says "and was killed"
    And the pool's worker is gone

  @case:pool/workers/16 @LL-PC-017 @ours
  Scenario Outline: No worker of that name: <key>
    Given a pool machine
    When the command "llorch-pool worker <words>" is run
    Then the command exits with code 1 and says "<says>"

    Examples:
      | key    | words                          | says                    |
      | stop   | stop worker-cpu-7              | there is no worker      |
      | logs   | logs worker-cpu-7              | has no log here         |
      | path   | logs ../../../../etc/passwd    | there is no worker      |

  @case:pool/workers/17 @LL-PC-018 @ours
  Scenario: infer ends badly where nobody answers
    Given a pool machine
    When the command "llorch infer --worker 127.0.0.1:{port} --prompt Hello" is run
    Then the command exits with code 1 and says "does not answer"

  @case:pool/workers/18 @LL-PC-018 @ours
  Scenario: infer ends badly where the job is refused
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool worker spawn cpu --model haiku --gpu {gpu}" is run
    And the command "llorch infer --worker 127.0.0.1:{port} --prompt Hello --temperature 9" is run
    Then the command exits with code 1 and says "refused the job: 400"
