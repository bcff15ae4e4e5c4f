"""Command line: parse, ask the supervisor, print. Thin on purpose: no command knows how a cluster works.

`main` is what `brokerdemo.__main__` calls. Nothing is imported before it is needed, because the time to an answer of
`brokerdemo status` is mostly imports.
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command line (without the program's name); returns its exit code."""
    from brokerdemo.cli.app import run

    return run(argv)
