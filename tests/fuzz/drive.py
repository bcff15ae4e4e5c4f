"""Coverage-guided fuzzing, by hand:

    pip install atheris
    python -m tests.fuzz.drive TARGET [CORPUS_DIRECTORY] [-max_total_time=600] [libFuzzer's options]

Ends with the offending input in a file crash-*.  Put that into `test_any_bytes.py` or `test_any_file.py` as an example.
docs/fuzzing.md has the rest.
"""

import sys


def main(argv: list[str]) -> int:
    try:
        import atheris
    except ImportError:
        print("The fuzzer is not installed: pip install atheris (Linux and macOS only).", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["coordination"]):
        from tests.fuzz.file_targets import FILE_TARGETS
        from tests.fuzz.targets import TARGETS
    targets = TARGETS | FILE_TARGETS
    if len(argv) < 2 or argv[1] not in targets:
        print(f"Say which target: {', '.join(targets)}.", file=sys.stderr)
        return 2
    atheris.Setup([argv[0], *argv[2:]], targets[argv[1]])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
