@lane:docker @built-in @chain @serial
Feature: Machines come and go
  An orchestrator and two nodes in containers of an empty image, on a network that is cut for real: packets go nowhere, and
  nobody says goodbye.

  Background:
    Given an orchestrator and the nodes a, b on machines of their own

  @case:orchestrator/containers/1 @LL-O-080 @ours
  Scenario: A node is cut off in the middle of a stream
    When "cut" of 2000 tokens runs on node a, and 5 tokens came
    And the machine of node a is cut off
    Then "cut" is told that its worker was lost, and reads the same again
    And node a is offline
    When "other" of 5 tokens runs on any machine
    Then "other" comes to its end, and reads the same again
    When the machine of node a is back on the network
    Then node a is online, with 1 free slot
    When "back" of 5 tokens runs on node a
    Then "back" comes to its end, and reads the same again

  @case:orchestrator/containers/2 @LL-O-080 @ours
  Scenario: A node that is cut off and back before anybody calls it lost
    When "short" of 100 tokens runs on node a, and 5 tokens came
    And the machine of node a is cut off
    And the machine of node a is back on the network
    Then every task has its ending, and reads the same again
    And node a is online, with 1 free slot

  @case:orchestrator/containers/3 @LL-O-081 @ours
  Scenario: A node is told to stop while it streams
    When "last" of 50 tokens runs on node a, and 5 tokens came
    And the machine of node a is told to stop
    Then "last" comes to its end, and reads the same again
    When "other" of 5 tokens runs on any machine
    Then "other" comes to its end, and reads the same again

  @case:orchestrator/containers/4 @LL-O-081 @ours
  Scenario: A node is killed while it streams, and starts again
    When "lost" of 2000 tokens runs on node a, and 5 tokens came
    And the machine of node a is killed
    Then "lost" is told that its worker was lost, and reads the same again
    When the machine of node a starts again
    Then node a is online, with 1 free slot
    When "back" of 5 tokens runs on node a
    Then "back" comes to its end, and reads the same again

  @case:orchestrator/containers/5 @LL-O-082 @ours
  Scenario: Every machine is rolled under load
    When every machine is stopped and started again, one after the other, while tasks run
    Then every task has its ending, and reads the same again
    And node a is online, with 1 free slot
    And node b is online, with 1 free slot
