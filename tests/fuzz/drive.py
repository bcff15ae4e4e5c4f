"""Coverage-guided fuzzing, by hand:

    pip install atheris
    python -m tests.fuzz.drive decoders|stream|machine [CORPUS_DIRECTORY] [-max_total_time=600] [libFuzzer's options]

Ends with the offending input in a file crash-*.  Put that into `test_any_bytes.py` as an example.
"""

import sys


def main(argv: list[str]) -> int:
    try:
        import atheris
    except ImportError:
        print("The fuzzer is not installed: pip install atheris (Linux and macOS only).", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["coordination"]):
        from tests.fuzz.targets import TARGETS
    if len(argv) < 2 or argv[1] not in TARGETS:
        print(f"Say which target: {', '.join(TARGETS)}.", file=sys.stderr)
        return 2
    target = TARGETS[argv[1]]
    atheris.Setup([argv[0], *argv[2:]], target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
