"""The foreground of `up`, without a cluster."""

import select
import signal
import threading

from brokerdemo.cli import viewer


def test_a_signal_is_seen_before_the_interpreter_has_a_moment_for_it() -> None:
    """As one that comes just before select: Python's handler would run when select has ended, which it never does."""
    seen = []

    with viewer._signals() as wake:

        def interrupted() -> None:
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            seen.append(select.select([wake], [], [], 0)[0])

        thread = threading.Thread(target=interrupted)
        thread.start()
        thread.join()
        assert seen == [[wake]]
