"""Real servers for tests and benchmarks: ours (`server`) and Apache ZooKeeper (`apache`), as processes on loopback.

Synchronous, so that they fit pytest's session fixtures and plain scripts. Public, as trio.testing is: a program that
uses `coordination` tests itself with these.

    from coordination.testing import apache, server

    with server.serve() as ours:
        ours.connect            # "127.0.0.1:40123"
        ours.kill(); ours.restart()

    reason = apache.why_unavailable()       # None, or why there is no Apache ZooKeeper here
    with apache.ensemble(3) as zoo:
        zoo.connect, zoo.members[0].kill()
"""
