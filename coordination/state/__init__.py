"""What a server of an ensemble of one knows, and how it decides: decide -> record -> apply.

    txn        the record of a decision, as it stands in the log
    connection what the pipeline keeps for one client's connection
    data_tree  the znodes; applies txns, answers reads
    watches    who asked to hear about which znode
    sessions   who is alive, by a clock that is handed in
    prep       request + outstanding changes -> txn or error
    reads      request -> reply, from the tree
    ready      what goes through the pipeline and what comes out of it
    answers    the reply to a write
    announcer  who hears of a change
    pipeline   the whole chain, driven by events: received, persisted, time passed

Does no I/O, reads no clock, draws no random number: same state and same event, same result.
"""
