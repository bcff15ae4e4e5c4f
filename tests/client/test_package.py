"""Importing `coordination` is cheap and starts nothing; its table of public names is right."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import coordination

CHEAP = """
import sys, threading
import coordination
heavy = {"trio", "kazoo", "structlog", "typer", "asyncio", "ssl"} & set(sys.modules)
coordination.NoNodeError
assert not heavy and threading.active_count() == 1, (heavy, threading.enumerate())
coordination.connect
assert threading.active_count() == 1, threading.enumerate()
"""


def test_importing_is_cheap_and_starts_no_thread() -> None:
    ran = subprocess.run([sys.executable, "-c", CHEAP], capture_output=True, text=True, timeout=30, check=False)
    assert ran.stderr == ""


@pytest.mark.parametrize("name", coordination.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(coordination, name) is getattr(import_module(f"coordination.{coordination._HOME[name]}"), name)


def test_the_names_for_type_checkers_are_the_names_at_run_time() -> None:
    tree = ast.parse(Path(coordination.__file__).read_text())
    checked = {
        alias.name: node.module.removeprefix("coordination.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("coordination.")
        for alias in node.names
    }
    assert checked == coordination._HOME
    assert sorted(coordination.__all__) == sorted(checked)


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        coordination.conect  # noqa: B018
