@built-in
Feature: The same commands on another machine
  `--host H` runs the command over ssh: every word quoted, the output as it comes, the exit code of the other side.

  @case:pool/remote/1 @LL-PC-020 @ours
  Scenario: ssh is given exactly these words, and every word of the line is quoted
    Given a pool machine
    And it is reached over a recording ssh
    When the command "llorch pool models info 'it'\''s; touch pwned $(touch pwned)' -C {folder} --host gpu-7 --timeout-sec 20" is run
    Then ssh was run with exactly:
      | word                                                                                     |
      | -o                                                                                       |
      | BatchMode=yes                                                                            |
      | -o                                                                                       |
      | ServerAliveInterval=15                                                                   |
      | -o                                                                                       |
      | ServerAliveCountMax=4                                                                    |
      | -o                                                                                       |
      | ConnectTimeout=10                                                                        |
      | -T                                                                                       |
      | --                                                                                       |
      | gpu-7                                                                                    |
      | 'llorch-pool' 'models' 'info' 'it'\\''s; touch pwned $(touch pwned)' '-C' '{folder}'     |
    And the command exits with code 1 and says "there is no model"
    And the machine has no "pwned"

  @case:pool/remote/2 @LL-PC-020 @ours
  Scenario Outline: A host that ssh would read as a flag is refused: <key>
    Given a pool machine
    When the command "llorch pool models list --host=<host>" is run
    Then the command exits with code 2 and says "is refused"

    Examples:
      | key   | host                        |
      | flag  | -oProxyCommand=touch_pwned  |
      | empty |                             |

  @case:pool/remote/3 @LL-PC-021 @ours
  Scenario Outline: The exit code is that of the other side: <key>
    Given a pool machine
    And it is reached over <server>
    When the command "llorch pool models <words> -C {folder} --host machine --remote-program {bin}/llorch-pool" is run
    Then the command exits with code <code> and says "<says>"

    Examples:
      | key     | server          | words              | code | says                 |
      | done    | a recording ssh | list               | 0    | no models yet        |
      | refused | a recording ssh | info nothing       | 1    | there is no model    |
      | usage   | a recording ssh | register ../up --name T --repo a/b --architecture gpt2 | 2 | the id "../up" is refused |

  @case:pool/remote/4 @LL-PC-022 @ours
  Scenario: A machine that does not finish in time
    Given a pool machine
    And it is reached over a recording ssh
    When the command "llorch pool status --host machine --remote-program {bin}/sleeper --timeout-sec 1" is run
    Then the command exits with code 124 and says "machine did not finish within 1 s"

  @case:pool/remote/5 @LL-PC-022 @ours
  Scenario: A tool that is not there
    Given a pool machine
    And it is reached over a recording ssh
    When the command "llorch pool status --host machine --remote-program {bin}/nothing" is run
    Then the command exits with code 127 and says "name it with --remote-program"

  @case:pool/remote/10 @LL-PC-023 @ours @lane:sshd
  Scenario: Over a real server: registered and shown there
    Given a pool machine
    And it is reached over a real sshd
    When the command "llorch pool models register 'a; touch pwned' --name 'It'\''s $HOME' --repo acme/a --architecture gpt2 -C {folder} --host machine --remote-program {bin}/llorch-pool" is run
    Then the command exits with code 0 and says "a; touch pwned is registered"
    And the catalog says:
      | field          | value            |
      | /models/0/id   | "a; touch pwned" |
      | /models/0/name | "It's $HOME"     |
    And the machine has no "pwned"
    When the command "llorch pool models info nothing -C {folder} --host machine --remote-program {bin}/llorch-pool" is run
    Then the command exits with code 1 and says "there is no model "nothing" in the catalog"

  @case:pool/remote/11 @LL-PC-023 @ours @lane:sshd
  Scenario: Over a real server: a worker is started there, outlives the connection, and is stopped
    Given a pool machine that has the haiku model as "haiku"
    And it is reached over a real sshd
    When the command "llorch pool worker spawn cpu --model haiku --gpu {gpu} -C {folder} --host machine --remote-program {bin}/llorch-pool" is run
    Then the command exits with code 0 and says "worker-cpu-{gpu} is ready"
    When the command "llorch infer --worker 127.0.0.1:{port} --prompt 'Write a haiku about the sea' --max-tokens 40 --seed 7" is run
    Then the command exits with code 0 and says ""
    When the command "llorch pool worker stop worker-cpu-{gpu} -C {folder} --host machine --remote-program {bin}/llorch-pool" is run
    Then the command exits with code 0 and says "worker-cpu-{gpu} is stopped"
    And the pool's worker is gone

  @case:pool/remote/12 @LL-PC-023 @ours @lane:sshd
  Scenario Outline: Over a real server: what goes wrong keeps its code: <key>
    Given a pool machine
    And it is reached over a real sshd
    When the command "llorch pool status -C {folder} --host <host> --timeout-sec <seconds> --remote-program {bin}/<program>" is run
    Then the command exits with code <code> and says "<says>"

    Examples:
      | key         | host    | seconds | program     | code | says                             |
      | unreachable | 0.0.0.1 | 30      | llorch-pool | 255  | was not reached over ssh         |
      | no-tool     | machine | 30      | nothing     | 127  | name it with --remote-program    |
      | too-slow    | machine | 1       | sleeper     | 124  | machine did not finish within 1 s |
