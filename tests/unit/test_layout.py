"""What keeps the house in order: folders that would break the interpreter, the lock, sizes, names, docstrings."""

from __future__ import annotations

import ast
import operator
import pathlib
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator

import pytest
from packaging import requirements, utils

ROOT = pathlib.Path(__file__).parents[2]
SOURCES = ("services", "operator", "tests", "benchmarks", "examples", "e2e")
GENERATED = ROOT / "services" / "penstock" / "v1"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60
SAYS_NOTHING = re.compile(r"(^|_)(utils?|helpers?|commons?|misc|stuff|managers?)(_|$)")


def written_by_hand(*folders: str) -> Iterator[pathlib.Path]:
    for folder in folders or SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if GENERATED not in path.parents:
                yield path


def shown(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


# The top-level folder operator/ has the name of a module that the interpreter itself needs.


def test_operator_is_the_standard_library_s() -> None:
    """Catches a folder that has replaced the module in this very process, as test collection can do silently."""
    assert operator.__file__ is not None
    assert pathlib.Path(operator.__file__).parent == pathlib.Path(sysconfig.get_path("stdlib"))


def test_an_interpreter_started_here_finds_the_standard_library_s() -> None:
    """Catches an `operator/__init__.py`: no interpreter started in the repository's root would live."""
    done = subprocess.run(
        [sys.executable, "-c", "import collections, operator; print(operator.__file__)"],
        cwd=ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(pathlib.Path(sysconfig.get_path("stdlib")) / "operator.py"), done.stderr


def test_operator_holds_nothing_that_could_replace_it() -> None:
    """Catches modules, a conftest or tests directly below operator/, each of which makes it importable."""
    loose = [shown(path) for path in (ROOT / "operator").glob("*.py*")]
    assert loose + [shown(path) for path in (ROOT / "operator").glob("test*")] == []


# The lock.


def test_the_lock_holds_no_addresses() -> None:
    """Catches an index, a mirror, a local folder or a path of the machine that wrote the lock."""
    lines = [line for line in LOCK.splitlines() if re.search(r"://|^\s*-|\s@\s|(^|\s)\.{0,2}/|[\w-]+\.(org|com|net|io)\b", line)]
    assert [line for line in lines if not line.lstrip().startswith("--hash=sha256:")] == []


def test_every_package_in_the_lock_is_pinned_and_hashed() -> None:
    """Catches a line that pip would take from wherever it finds it."""
    entries = LOCK.replace("\\\n", " ").strip().splitlines()
    assert entries
    assert [entry for entry in entries if not re.match(r"[A-Za-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry)] == []


def test_the_lock_holds_everything_the_project_asks_for() -> None:
    """Catches a dependency added without `make lock`, or a floor raised above what is locked."""
    pinned: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK, flags=re.MULTILINE):
        pinned.setdefault(utils.canonicalize_name(name), set()).add(version)
    for line in asked_for():
        wanted = requirements.Requirement(line)
        versions = pinned.get(utils.canonicalize_name(wanted.name), set())
        assert versions, f"{line} is not in requirements.lock: run make lock"
        assert all(version in wanted.specifier for version in versions), f"{line}: the lock has {versions}: run make lock"


def asked_for() -> list[str]:
    project = PROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    lines = [*PROJECT["build-system"]["requires"], *project["dependencies"], *extras, *PROJECT["dependency-groups"]["dev"]]
    return [line for line in lines if not line.startswith("penstock[")]


# Sizes and names.


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    """Catches a module that does two jobs."""
    lengths = {shown(path): len(path.read_text().splitlines()) for path in written_by_hand()}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES_OF_A_FILE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    """Catches a procedure that does not read like its description."""
    long = [
        f"{shown(path)}:{node.lineno} {node.name}"
        for path in written_by_hand("services", "operator")
        for node in ast.walk(ast.parse(path.read_text(), str(path)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    ]
    assert long == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    """Catches the drawer into which everything goes."""
    names = [path.parent if path.name == "__init__.py" else path for path in written_by_hand()]
    assert [shown(path) for path in names if SAYS_NOTHING.search(path.stem)] == []


@pytest.mark.parametrize("name", ["utils", "text_utils", "helpers", "common", "lane_manager"])
def test_the_rule_on_names_knows_the_usual_drawers(name: str) -> None:
    """Catches a rule that could not fail."""
    assert SAYS_NOTHING.search(name)


def test_every_module_says_why_it_exists() -> None:
    """Catches a module without a docstring."""
    assert [shown(path) for path in written_by_hand() if not ast.get_docstring(ast.parse(path.read_text(), str(path)))] == []


def test_every_room_is_on_the_plan() -> None:
    """Catches a package that docs/architecture.md does not know."""
    plan = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [path.parent.name for path in (ROOT / "services" / "penstock").glob("*/__init__.py")]
    assert rooms
    assert [room for room in rooms if f"`{room}/`" not in plan] == []
