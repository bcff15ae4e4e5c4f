"""What the controller thinks: placement, elections, reassignment, and the machine that puts them in order.

Sans-IO. In: a `ClusterView` read from znodes, and the time. Out: a `Plan`, that is znode multis as data, and facts.
Knows nothing of sessions, sockets, clocks or logs. Answers to Kafka's KafkaController, PartitionStateMachine and
StripedReplicaPlacer.
"""
