"""Tools for people at a terminal: a shell for any ZooKeeper, four letter words, and a look into logs and snapshots.

In:  command lines.  Out: text or JSON on stdout, words and advice on stderr, an exit code.
Each command is one module with `run(argv) -> int`; `commands` is the table of them. Nothing is imported here, so that
`coordination serve` pays for none of it.

`dial` from an address to a session · `connection` the session, kept alive by a thread · `pending` a request on its
way · `client` every operation · `answers` what comes back · `watch_table` what is set again · `connect_string` hosts
and chroot · `verbs_*`, `quotas`, `shell`, `line`, `cli` the shell with zkCli's verbs · `log_scan`, `txn_text` files
looked at without changing them · `four_letter_words`, `digest`, `logs`, `snapshots`, `doctor` the other commands.
Answers to ZooKeeper's ZooKeeperMain, FourLetterWordMain, TxnLogToolkit, SnapshotFormatter, SnapshotComparer.
"""
