"""Every benchmark, one after the other: `python -m bench [--quick] [--json]`."""

import sys

from bench import coordination


def main(argv: list[str]) -> int:
    print(
        "== coordination: ours and Apache ZooKeeper in turn (python -m bench.coordination)", file=sys.stderr, flush=True
    )
    return coordination.main(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
