"""Every benchmark, one after the other: `python -m bench [--quick] [--json]`. Each has more options of its own."""

import argparse
import sys

from bench import coordination, failover


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that it runs")
    parser.add_argument("--json", action="store_true", help="one JSON object per benchmark")
    options = parser.parse_args(argv)
    passed_on = [f"--{name}" for name, given in vars(options).items() if given]
    worst = 0
    for name, benchmark in (("failover", failover), ("coordination", coordination)):
        print(f"== {name} (python -m bench.{name})", file=sys.stderr, flush=True)
        worst = max(worst, benchmark.main(passed_on))
    return worst


if __name__ == "__main__":
    sys.exit(main())
