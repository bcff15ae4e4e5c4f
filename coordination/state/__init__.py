"""What a server of an ensemble of one knows, and how it decides: decide -> record -> apply.

    pipeline        the whole chain, driven by events: received, persisted, time passed; below are its rooms
    prep            request + outstanding changes -> txn or error
    proposals       the order of all changes: zxids, payloads for the log, what is under way
    final           a committed txn -> tree, watch events, reply
    reads           request -> reply, from the tree
    answers         the body of the reply to a write
    announcer       who hears of a change

    session_keeper  how a session begins, changes its connection, and ends
    authentication  who a connection is; where a scheme is enforced, who is let through
    refusals        what cannot be served, and how that is said
    containers      the server's own deletions
    audit           who changed what, where somebody wants to know
    connection_throttle  a bucket of tokens that ConnectRequests draw from
    outbox          what leaves, and how a connection ends

    data_tree       the znodes; applies txns.  znode: one of them; acl_table, owned_nodes, quotas, quota_sums: what
                    stands beside; fuzzy_walk: all of them, one by one, for a snapshot
    watches         who asked to hear about which znode
    sessions        who is alive, by a clock that is handed in
    connection      what is kept for one client's connection
    txn             the record of a decision, as it stands in the log
    ready           settings in, things to do out, counters; clock: the time of the event under way; summary: a
                    run of measurements

Does no I/O, reads no clock, draws no random number: same state and same event, same result.
"""
