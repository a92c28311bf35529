@built-in
Feature: The models of a machine
  The catalog is never lost, never half-written and never overwritten when it can't be read. A model counts as downloaded when
  its files were checked, and not before.

  @case:pool/models/1 @LL-PC-001 @ours
  Scenario: A model is registered, shown and taken out again
    Given a pool machine
    When the command "llorch-pool models register tiny --name 'Tiny model' --repo acme/tiny --architecture gpt2" is run
    Then the command exits with code 0 and says "llorch-pool models download tiny"
    And the catalog says:
      | field                  | value                    |
      | /version               | "1.0"                    |
      | /models/0/id           | "tiny"                   |
      | /models/0/name         | "Tiny model"             |
      | /models/0/path         | ".test-models/tiny"      |
      | /models/0/format       | "safetensors"            |
      | /models/0/size_gb      | 0.0                      |
      | /models/0/architecture | "gpt2"                   |
      | /models/0/downloaded   | false                    |
      | /models/0/backends     | ["cpu", "cuda", "metal"] |
      | /models/0/metadata/repo | "acme/tiny"             |
    When the command "llorch-pool models list --json" is run
    Then the command prints a document with:
      | field         | value  |
      | /0/id         | "tiny" |
      | /0/downloaded | false  |
    When the command "llorch-pool models info tiny" is run
    Then the command exits with code 0 and says "acme/tiny"
    When the command "llorch-pool models catalog" is run
    Then the command exits with code 0 and says "catalog.json"
    When the command "llorch-pool models unregister tiny" is run
    Then the command exits with code 0 and says "tiny is no longer registered"
    And the catalog has 0 models

  @case:pool/models/2 @LL-PC-001 @ours
  Scenario Outline: A registration that can't be is refused, and changes nothing: <key>
    Given a pool machine
    When the command "llorch-pool models register tiny --name T --repo acme/tiny --architecture gpt2" is run
    And the command "llorch-pool models register <words>" is run
    Then the command exits with code <code> and says "<says>"
    And the catalog is unchanged

    Examples:
      | key       | words                                                         | code | says                              |
      | twice     | tiny --name T --repo acme/tiny --architecture gpt2            | 1    | there is a model "tiny" already   |
      | path      | ../up --name T --repo acme/tiny --architecture gpt2           | 2    | the id "../up" is refused         |
      | own-files | catalog.json --name T --repo acme/tiny --architecture gpt2    | 2    | the id "catalog.json" is refused  |
      | flag-repo | other --name T --repo=--force --architecture gpt2             | 2    | --repo "--force" is refused       |
      | backend   | other --name T --repo a/b --architecture gpt2 --backend abacus | 2   | abacus                            |
      | no-repo   | other --name T --architecture gpt2                            | 2    | --repo                            |

  @case:pool/models/3 @LL-PC-002 @ours
  Scenario: Two hundred write the catalog at once, and none is lost
    Given a pool machine
    When the command "llorch-pool models register model-{n} --name M --repo acme/m --architecture gpt2" is run 200 times at once
    Then 200 of them succeed, and the others say "nothing"
    And the catalog has 200 models

  @case:pool/models/4 @LL-PC-003 @ours
  Scenario: A damaged catalog is refused, and never overwritten
    Given a pool machine
    When the command "llorch-pool models register tiny --name T --repo acme/tiny --architecture gpt2" is run
    Then a catalog that is cut is refused and left as it is

  @case:pool/models/5 @LL-PC-004 @ours
  Scenario: hf is given exactly these words, one pattern to an include
    Given a pool machine whose hf brings the haiku model
    When the command "llorch-pool models register haiku --name H --repo acme/haiku --architecture gpt2" is run
    And the command "llorch-pool models download haiku" is run
    Then the command exits with code 0 and says "haiku is downloaded and checked"
    And hf was run with exactly:
      | word               |
      | download           |
      | acme/haiku         |
      | --include          |
      | *.safetensors      |
      | --include          |
      | *.json             |
      | --include          |
      | tokenizer.model    |
      | --include          |
      | merges.txt         |
      | --local-dir        |
      | .test-models/haiku |
    And the catalog says:
      | field                | value |
      | /models/0/downloaded | true  |

  @case:pool/models/6 @LL-PC-004 @ours
  Scenario: An id with a semicolon and blanks is one word, and a folder
    Given a pool machine whose hf brings the haiku model
    When the command "llorch-pool models register 'a; touch pwned $(touch pwned)' --name H --repo acme/haiku --architecture gpt2" is run
    And the command "llorch-pool models download 'a; touch pwned $(touch pwned)'" is run
    Then the command exits with code 0 and says "is downloaded and checked"
    And the machine has a ".test-models/a; touch pwned $(touch pwned)"
    And the machine has no "pwned"

  @case:pool/models/7 @LL-PC-004 @ours
  Scenario: A GGUF entry asks for its file
    Given a pool machine whose hf brings the haiku GGUF model
    When the command "llorch-pool models register h --name H --repo acme/h --architecture gpt2 --format gguf --file model.gguf" is run
    And the command "llorch-pool models download h" is run
    Then the command exits with code 0 and says "h is downloaded and checked"
    And hf was run with exactly:
      | word           |
      | download       |
      | acme/h         |
      | --include      |
      | model.gguf     |
      | --local-dir    |
      | .test-models/h |

  @case:pool/models/8 @LL-PC-005 @ours
  Scenario Outline: A download that fails says why, and the catalog stays as it was: <key>
    Given a pool machine whose hf <hf>
    When the command "llorch-pool models register haiku --name H --repo acme/haiku --architecture gpt2" is run
    And the command "llorch-pool models download <id>" is run
    Then the command exits with code 1 and says "<says>"
    And the catalog is unchanged

    Examples:
      | key            | hf                     | id    | says                                                     |
      | unknown        | brings the haiku model | other | there is no model "other" in the catalog; it has: haiku  |
      | not-installed  | is not installed       | haiku | Install it: pip install -U huggingface_hub               |
      | fails          | always fails           | haiku | 401 Client Error: the model is gated                     |
      | killed         | is killed half-way     | haiku | `hf` was ended by SIGKILL half-way                       |
      | no-weights     | brings no weights      | haiku | has no .safetensors file                                 |
      | shard-missing  | brings too few shards  | haiku | names shards that are not there                          |
      | other-weights  | brings other weights   | haiku | model.safetensors has the SHA-256                        |

  @case:pool/models/9 @LL-PC-005 @ours
  Scenario: Three attempts
    Given a pool machine whose hf fails twice
    When the command "llorch-pool models register haiku --name H --repo acme/haiku --architecture gpt2" is run
    And the command "llorch-pool models download haiku" is run
    Then the command exits with code 0 and says "attempt 2 failed"
    And hf was run 3 times

  @case:pool/models/10 @LL-PC-005 @ours
  Scenario Outline: A download that is ended half-way leaves the catalog as it was: <key>
    Given a pool machine whose hf hangs half-way
    When the command "llorch-pool models register haiku --name H --repo acme/haiku --architecture gpt2" is run
    And the command "llorch-pool models download haiku" is run, and <whom> gets <signal> half-way
    Then the catalog is unchanged
    And the machine has a ".test-models/haiku/half"

    Examples:
      | key       | whom       | signal  |
      | interrupt | the tool   | SIGINT  |
      | terminate | the tool   | SIGTERM |
      | kill      | everything | SIGKILL |

  @case:pool/models/11 @LL-PC-005 @ours
  Scenario: What is downloaded is not downloaded again, unless it is asked for
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool models download haiku" is run
    Then the command exits with code 1 and says "is downloaded already"
    And the catalog is unchanged
    When the command "llorch-pool models download haiku --force" is run
    Then the command exits with code 0 and says "haiku is downloaded and checked"
    And hf was run 2 times

  @case:pool/models/12 @LL-PC-006 @ours
  Scenario: The size is that of the model's files, and verify reads every byte
    Given a pool machine that has the haiku model as "haiku"
    Then the catalog says:
      | field                                                | value       |
      | /models/0/size_gb                                    | 0.001895844 |
      | /models/0/metadata/files/model.safetensors/size      | 1838696     |
    When the command "llorch-pool models verify haiku" is run
    Then the command exits with code 0 and says "3 of 3 files compared"
    When meanwhile a byte of the weights changes
    And the command "llorch-pool models verify haiku" is run
    Then the command exits with code 1 and says "model.safetensors has the SHA-256"
    When meanwhile the weights are cut
    And the command "llorch-pool models verify haiku" is run
    Then the command exits with code 1 and says "model.safetensors has 4096 bytes, and it should have 1838696"

  @case:pool/models/13 @LL-PC-007 @ours
  Scenario: Delete takes the files, and the entry stays
    Given a pool machine that has the haiku model as "haiku"
    When the command "llorch-pool models delete haiku" is run
    Then the command exits with code 0 and says "the files of haiku are deleted"
    And the machine has no ".test-models/haiku"
    And the catalog says:
      | field                | value |
      | /models/0/downloaded | false |
      | /models/0/size_gb    | 0.0   |

  @case:pool/models/14 @LL-PC-007 @ours
  Scenario: Delete takes nothing outside the models' folder, whatever the catalog says
    Given a pool machine that has the haiku model as "haiku"
    When meanwhile the catalog is made to name a folder outside
    And the command "llorch-pool models delete haiku" is run
    Then the command exits with code 1 and says "it is not deleted from here"
    And the machine has a "precious"

  @case:pool/models/15 @LL-PC-008 @ours @serial
  Scenario: The tool is there at once
    Given a pool machine
    Then the tool starts within 100 milliseconds

  @case:pool/models/20 @LL-PC-009 @ours @lane:hf
  Scenario Outline: The real hf brings a model from a hub: <key>
    Given a pool machine, and a hub that serves the <shape> model
    When the command "llorch-pool models register m --name M --repo acme/model --architecture gpt2 <more>" is run
    And the command "llorch-pool models download m" is run
    Then the command exits with code 0 and says "m is downloaded and checked"
    When the command "llorch-pool models verify m" is run
    Then the command exits with code 0 and says "valid"

    Examples:
      | key     | shape       | more          |
      | whole   | haiku       |               |
      | gguf    | haiku GGUF  | --format gguf |
      | sharded | sharded     |               |

  @case:pool/models/21 @LL-PC-009 @ours @lane:hf
  Scenario: The real hf resumes after a cut
    Given a pool machine, and a hub that serves the haiku model and cuts the connection once
    When the command "llorch-pool models register m --name M --repo acme/model --architecture gpt2" is run
    And the command "llorch-pool models download m" is run
    Then the command exits with code 0 and says "m is downloaded and checked"
    And the hub was asked for the rest of the weights

  @case:pool/models/22 @LL-PC-009 @ours @lane:hf
  Scenario: A download by the real hf that was killed half-way is resumed by the next
    Given a pool machine, and a hub that serves the haiku model and falls silent once
    When the command "llorch-pool models register m --name M --repo acme/model --architecture gpt2" is run
    And the command "llorch-pool models download m" is run, and everything gets SIGKILL half-way
    Then the catalog is unchanged
    When the command "llorch-pool models download m" is run
    Then the command exits with code 0 and says "m is downloaded and checked"
    And the hub was asked for the rest of the weights

  @case:pool/models/23 @LL-PC-009 @ours @lane:hf
  Scenario: Weights of another digest than the hub told are refused and removed
    Given a pool machine, and a hub that serves the haiku model and serves other weights than it says
    When the command "llorch-pool models register m --name M --repo acme/model --architecture gpt2" is run
    And the command "llorch-pool models download m" is run
    Then the command exits with code 1 and says "model.safetensors has the SHA-256"
    And the catalog is unchanged
    And the machine has no ".test-models/m/model.safetensors"

  @case:pool/models/24 @LL-PC-009 @ours @lane:hf
  Scenario: A repository that the hub does not have
    Given a pool machine, and a hub that serves the haiku model
    When the command "llorch-pool models register m --name M --repo nobody/nothing --architecture gpt2" is run
    And the command "llorch-pool models download m" is run
    Then the command exits with code 1 and says "`hf` failed 3 times"
    And the catalog is unchanged
