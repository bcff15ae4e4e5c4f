"""House rules as a test: which room may import which, and which rooms may not touch the world at all.

The table is the architecture. A new arrow is a design decision: change it here, and say why in ARCHITECTURE.md.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# A room may import itself and the rooms listed; the longest matching prefix names a module's room.
MAY_IMPORT: dict[str, set[str]] = {
    "coordination": {"coordination.client", "coordination.errors", "coordination.paths", "coordination.secret"},
    "coordination.__main__": {"coordination.cli"},
    "coordination.errors": set(),
    "coordination.paths": {"coordination.errors"},
    "coordination.wire": {"coordination.errors", "coordination.paths"},
    "coordination.secret": set(),
    "coordination.auth": {"coordination.errors", "coordination.secret", "coordination.wire"},
    "coordination.state": {"coordination.errors", "coordination.paths", "coordination.wire", "coordination.auth"},
    "coordination.storage": {"coordination.errors", "coordination.wire", "coordination.state"},
    "coordination.server": {
        "coordination.errors",
        "coordination.paths",
        "coordination.wire",
        "coordination.auth",
        "coordination.secret",
        "coordination.state",
        "coordination.storage",
    },
    "coordination.client": {"coordination.errors", "coordination.paths", "coordination.secret", "coordination.wire"},
    "coordination.testing": {"coordination"},
    "coordination.tools": {
        "coordination.errors",
        "coordination.paths",
        "coordination.wire",
        "coordination.auth",
        "coordination.state",
        "coordination.storage",
    },
    "coordination.cli": {"coordination"},
    "brokerdemo": set(),
    "brokerdemo.__main__": {"brokerdemo"},
    "brokerdemo.znodes": set(),
    "brokerdemo.control": {"brokerdemo.znodes"},
    "brokerdemo.observe": {"brokerdemo.znodes"},
    "brokerdemo.broker": {
        "brokerdemo",
        "brokerdemo.znodes",
        "brokerdemo.control",
        "brokerdemo.observe",
        "coordination",
    },
    "brokerdemo.cluster": {
        "brokerdemo",
        "brokerdemo.znodes",
        "brokerdemo.control",
        "brokerdemo.observe",
        "brokerdemo.broker",
        "coordination",
        "coordination.__main__",
    },
    "brokerdemo.scenario": {
        "brokerdemo",
        "brokerdemo.znodes",
        "brokerdemo.observe",
        "brokerdemo.cluster",
        "coordination.testing",  # the `zookeeper` fixture is its server
    },
    "brokerdemo.cli": {
        "brokerdemo",
        "brokerdemo.znodes",
        "brokerdemo.observe",
        "brokerdemo.cluster",
        "brokerdemo.scenario",
    },
}
# These rooms may import any module of the packages named, not only its root.
WHOLE_PACKAGE: dict[str, set[str]] = {
    "coordination.testing": {"coordination"},
    "coordination.cli": {"coordination"},
    "brokerdemo.__main__": {"brokerdemo"},
}

SANS_IO = (
    "coordination.errors",
    "coordination.paths",
    "coordination.secret",
    "coordination.wire",
    "coordination.auth",
    "coordination.state",
    "brokerdemo.znodes",
    "brokerdemo.control",
)
WORLD = {"asyncio", "kazoo", "logging", "os", "random", "secrets", "select", "socket", "structlog", "subprocess"} | {
    "threading",
    "time",
    "trio",
    "uuid",
}


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("coordination", "brokerdemo"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def room_of(module: str) -> str:
    found = [room for room in MAY_IMPORT if module == room or module.startswith(room + ".")]
    return max(found, key=len)


def imports_of(module: str, path: Path) -> Iterator[tuple[str, int]]:
    """Every absolute module a file imports, at any depth, with its line."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, base] if base else anchor)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in MODULES else base), node.lineno


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    room, path = room_of(module), MODULES[module]
    wrong = []
    for target, line in imports_of(module, path):
        if target.split(".")[0] not in ("coordination", "brokerdemo"):
            continue
        target_room = room_of(target)
        whole = WHOLE_PACKAGE.get(room, set())
        if target_room == room or target_room in MAY_IMPORT[room] or target.split(".")[0] in whole:
            continue
        wrong.append(f"{path.relative_to(ROOT)}:{line} imports {target}: {room} may import {sorted(MAY_IMPORT[room])}")
    assert wrong == []


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(SANS_IO)])
def test_sans_io_rooms_touch_nothing_outside(module: str) -> None:
    path = MODULES[module]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {target}"
        for target, line in imports_of(module, path)
        if target.split(".")[0] in WORLD
    ]
    assert wrong == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_room_it_is(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text())), f"{module} has no docstring"


def test_the_table_names_real_rooms() -> None:
    missing = [room for room in MAY_IMPORT if not any(m == room or m.startswith(room + ".") for m in MODULES)]
    assert missing == []


def test_asserts_are_on() -> None:
    """Invariants are asserts; the suite must not run under -O."""
    assert sys.flags.optimize == 0
