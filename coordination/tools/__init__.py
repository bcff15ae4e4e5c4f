"""Tools for people at a terminal: a shell for any ZooKeeper, four letter words, and a look into logs and snapshots.

In:  command lines.  Out: text or JSON on stdout, words and advice on stderr, an exit code.
Each command is one module with `run(argv) -> int`; `commands` is the table of them. Nothing is imported here, so that
`coordination serve` pays for none of it.

`connection` a session over blocking sockets · `client` every operation on it · `answers` what comes back ·
`connect_string` hosts and chroot · `verbs_*`, `shell`, `line` the shell with zkCli's verbs ·
`four_letter_words`, `digest`, `logs`, `snapshots`, `doctor` the other commands.
Answers to ZooKeeper's ZooKeeperMain, FourLetterWordMain, TxnLogToolkit, SnapshotFormatter, SnapshotComparer.
"""
