Feature: Sampling
  The parameters have an effect that a client can see. A stub computes nothing, so it can't show any of it.

  @case:worker/sampling/1 @M0-W-1422 @must @api
  Scenario: The same seed gives the same text
    Given a worker that computes
    When a job is run with each of
      | seed |
      | 42   |
      | 42   |
    Then both texts are equal

  @case:worker/sampling/2 @M0-W-1422 @must @api
  Scenario: The same seed gives the same text after another job
    Given a worker that computes
    When a job is run with each of
      | seed |
      | 42   |
      | 43   |
      | 42   |
    Then the first and the last text are equal

  @case:worker/sampling/3 @M0-W-1422 @must @api
  Scenario: Another seed changes the text
    Given a worker that computes
    When a job is run with each of
      | seed |
      | 1    |
      | 2    |
      | 3    |
      | 4    |
    Then at least two of the texts differ

  @case:worker/sampling/4 @M0-W-1421 @must @api
  Scenario: Temperature 0 is greedy, whatever the seed
    Given a worker that computes
    When a job is run with each of
      | temperature | seed |
      | 0           | 1    |
      | 0           | 2    |
      | 0           | 3    |
    Then all texts are equal

  @case:worker/sampling/5 @M0-W-1421 @must @api:llamacpp
  Scenario Outline: A cut that leaves one token is greedy at any temperature: <parameter> <value>
    Given a worker that computes
    When a job is run with each of
      | temperature | <parameter> |
      | 0           | (absent)    |
      | 1.5         | <value>     |
    Then both texts are equal

    Examples:
      | parameter | value |
      | top_k     | 1     |
      | top_p     | 0.0   |
      | min_p     | 1.0   |

  @case:worker/sampling/6 @M0-W-1422 @must @api:llamacpp
  Scenario: A stop sequence ends the text before it
    Given a worker that computes
    When a greedy job is run, and again with a stop sequence from its middle
    Then each text ends before its stop sequence, which is named

  @case:worker/sampling/7 @M0-W-1422 @must @api
  Scenario: The prompt matters
    Given a worker that computes
    When a job is run with each of
      | temperature | prompt             |
      | 0           | "Hello."           |
      | 0           | "The quick brown"  |
      | 0           | "Once upon a time" |
      | 0           | "A haiku:"         |
    Then at least two of the texts differ

  @case:worker/sampling/8 @M0-W-1422 @must @fresh @api
  Scenario: The same seed gives the same text after a restart
    Given a fresh worker that computes
    When a job is run with each of
      | seed |
      | 42   |
    And the worker is started afresh
    And a job is run with each of
      | seed |
      | 42   |
    Then both texts are equal

  @case:worker/sampling/9 @M0-W-1422 @must @api:llamacpp
  Scenario: The joined tokens are the text: what stands across two of them is found as a stop sequence
    Given a worker that computes
    When a greedy job is run, and again with stop sequences across the borders of its tokens
    Then each text ends before its stop sequence, which is named

  @case:worker/sampling/10 @M0-W-1422 @must
  Scenario: Text held back for a stop sequence that never comes is sent at the end
    Given a worker that computes
    When a greedy job is run, and again with a stop sequence that its end only begins
    Then both texts are equal

  @case:worker/sampling/11 @M0-W-1422 @must
  Scenario: Of two stop sequences that match together the first in the request wins
    Given a worker that computes
    When a greedy job is run, and again with two stop sequences that match together, in both orders
    Then each text ends before its stop sequence, which is named

  @case:worker/sampling/12 @M0-W-1422 @must @api:llamacpp
  Scenario: A stop sequence wins over max_tokens on the last token, and counts in tokens_out
    Given a worker that computes
    When a greedy job is run, and again with a stop sequence from its middle
    And the last job is run again with max_tokens at its tokens_out
    Then each text ends before its stop sequence, which is named

  @case:worker/sampling/13 @M0-W-1422 @must @api:llamacpp
  Scenario: The end of the text wins over max_tokens on the last token, and counts in tokens_out
    Given a worker that computes
    When a job that ends by itself is run
    And the last job is run again with max_tokens at its tokens_out
    Then each job ended with "EOS"

  @case:worker/sampling/14 @M0-W-1422 @must @api:llamacpp
  Scenario Outline: A parameter changes the text: <parameter>
    Given a worker that computes
    When a job is run with each of
      | temperature   | <parameter> |
      | <temperature> | <one>       |
      | <temperature> | <other>     |
    Then at least two of the texts differ

    Examples:
      | key                | temperature | parameter          | one  | other |
      | repetition-penalty | 0           | repetition_penalty | 0.01 | 2.0   |
      | top-k              | 2           | top_k              | 1    | 0     |
      | top-p              | 2           | top_p              | 0.0  | 1.0   |
      | min-p              | 2           | min_p              | 1.0  | 0.0   |

  @case:worker/sampling/15 @M0-W-1422 @must @api
  Scenario: A higher temperature leaves the greedy text
    Given a worker that computes
    When a job is run with each of
      | temperature |
      | 0           |
      | 2           |
    Then at least two of the texts differ
