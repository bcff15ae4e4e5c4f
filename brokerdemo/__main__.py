"""The process entry: `brokerdemo ...` and `python -m brokerdemo ...`. Decides who runs, before anything heavy loads.

In: argv. Out: an exit code. `broker` is one broker by hand and never sees the command line's libraries; everything else
is the command line (`brokerdemo.cli`).

(1) `up` starts the zygote's interpreter before the command line is imported: the two import side by side.
"""

import gc
import signal
import sys
from collections.abc import Sequence

# A command lives for a moment and imports a lot: collecting meanwhile costs a tenth of its time (measured).
GC_THRESHOLD = 50_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (`cluster.errors.Code`)."""
    gc.set_threshold(GC_THRESHOLD)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the command line takes over, Ctrl-C ends this without a word, not with the traceback of an import.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    args = list(sys.argv[1:] if argv is None else argv)
    if not __debug__:
        print(
            "error: brokerdemo does not run under -O\n  its invariants are asserts\n  try: without -O", file=sys.stderr
        )
        return 7
    command = args[0] if args else ""
    if command == "broker":
        from brokerdemo.cluster import by_hand

        return by_hand.broker(args[1:])
    if command != "up" or {"-h", "--help", "--print-config"} & set(args):
        from brokerdemo.cli import main as cli

        return cli(args)
    from brokerdemo.cluster import prestart

    prestart.early()
    try:
        from brokerdemo.cli import main as cli

        return cli(args)
    finally:
        # A command refused before it started anything: what it had begun must not serve the next one of this process.
        prestart.abandon()


if __name__ == "__main__":
    raise SystemExit(main())
