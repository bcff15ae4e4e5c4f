"""Words taken apart as Apache Commons CLI does it; the cases are what ZooKeeper's shell did with them."""

import pytest

from coordination.tools.java_options import OptionError, Options, Parsed

GET = Options(("s", "w", "b", "x"))
SET = Options(("s", "b"), ("v",))
RECONFIG = Options(("s",), ("v", "file", "members", "add", "remove"))
QUOTA = Options(valued=("n", "b", "N", "B"), one_of=("n", "b", "N", "B"), one_needed="-n num soft quota")

GOOD = [
    (GET, "/a", ["/a"], {}),
    (GET, "-s /a", ["/a"], {"s": ""}),
    (GET, "/a -s", ["/a"], {"s": ""}),
    (GET, "-sw /a", ["/a"], {"s": "", "w": ""}),
    (GET, "-s -s /a", ["/a"], {"s": ""}),
    (GET, "- /a", ["-", "/a"], {}),
    (SET, "/a x -v 3", ["/a", "x"], {"v": "3"}),
    (SET, "-v3 /a x", ["/a", "x"], {"v": "3"}),
    (SET, "-v=3 /a x", ["/a", "x"], {"v": "3"}),
    (SET, "-sv3 /a x", ["/a", "x"], {"s": "", "v": "3"}),
    (SET, "-v -1 /a x", ["/a", "x"], {"v": "-1"}),
    (SET, "/a -- -x -s", ["/a", "-x", "-s"], {}),
    (SET, '-v "3" /a x', ["/a", "x"], {"v": "3"}),
    (RECONFIG, "-members a -add b", [], {"members": "a", "add": "b"}),
    (RECONFIG, "-add server.1=h:1:2;3", [], {"add": "server.1=h:1:2;3"}),
    (QUOTA, "-n 3 /a", ["/a"], {"n": "3"}),
]
BAD = [
    (GET, "-q /a", "Unrecognized option: -q"),
    (GET, "-sq /a", "Unrecognized option: -sq"),
    (GET, "--s /a", "Unrecognized option: --s"),
    (GET, "-s=1 /a", "Unrecognized option: -s=1"),
    (SET, "/a -5", "Unrecognized option: -5"),
    (SET, "/a x -v", "Missing argument for option: v"),
    (SET, "-v -s /a x", "Missing argument for option: v"),
    (QUOTA, "/a", "Missing required option: [-n num soft quota]"),
    (
        QUOTA,
        "-n 1 -b 2 /a",
        "The option 'b' was specified but an option from this group has already been selected: 'n'",
    ),
]


@pytest.mark.parametrize(("options", "line", "arguments", "found"), GOOD)
def test_good_ones(options: Options, line: str, arguments: list[str], found: dict[str, str]) -> None:
    assert options.parse(line.split()) == Parsed(arguments, found)


@pytest.mark.parametrize(("options", "line", "message"), BAD)
def test_bad_ones(options: Options, line: str, message: str) -> None:
    with pytest.raises(OptionError) as raised:
        options.parse(line.split())
    assert str(raised.value) == message
