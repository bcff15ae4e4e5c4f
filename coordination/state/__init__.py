"""What a server of an ensemble of one knows, and how it decides: decide -> record -> apply.

    txn        the record of a decision, as it stands in the log
    acl        who may do what
    data_tree  the znodes; applies txns, answers reads
    watches    who asked to hear about which znode
    sessions   who is alive, by a clock that is handed in
    prep       request + outstanding changes -> txn or error
    reads      request -> reply, from the tree
    pipeline   the whole chain, driven by events: received, persisted, time passed

Does no I/O, reads no clock, draws no random number: same state and same event, same result.
"""
