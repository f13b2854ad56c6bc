"""The command group: quick, honest about what is missing, and with documented exit codes."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import penstock
from penstock.cli import exits, lazy, main
from penstock.core import errors

HEAVY = ("grpc", "pyarrow", "duckdb", "rich", "pydantic", "aiohttp", "numpy")
OURS = ("infer", "send", "top", "query")


def test_the_listing_needs_none_of_the_heavy_libraries() -> None:
    """Catches an import at the top of the group: help would take seconds, and fail where an extra is missing."""
    code = f"import sys; from penstock.cli import main; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_listing_names_each_command_with_a_sentence(name: str) -> None:
    """Catches a command that is in the table and not in the help."""
    result = CliRunner().invoke(main.cli, ["--help"])
    assert result.exit_code == 0
    assert f"  {name} " in result.output
    assert main.COMMANDS[name].summary.split()[0] in result.output


@pytest.mark.parametrize("name", OURS)
def test_each_help_shows_an_example(name: str) -> None:
    """Catches a help text that leaves the reader to guess how the parts go together."""
    result = CliRunner().invoke(main.cli, [name, "--help"])
    assert result.exit_code == 0
    assert f"  penstock {name}" in result.output


def test_the_version_is_the_package_s() -> None:
    """Catches a second place where the version is written."""
    assert CliRunner().invoke(main.cli, ["--version"]).output == f"penstock, version {penstock.__version__}\n"


def test_an_unknown_command_is_a_usage_error_with_the_nearest_name() -> None:
    """Catches a bare "no such command"."""
    result = CliRunner().invoke(main.cli, ["vlidate", "x.yaml"])
    assert result.exit_code == exits.USAGE
    assert 'did you mean "validate"?' in result.output


def test_a_missing_dependency_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a traceback where one line says what to install."""

    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")

    monkeypatch.setattr(importlib, "import_module", missing)
    result = CliRunner().invoke(main.cli, ["run"])
    assert result.exit_code == exits.INVALID
    assert result.output == "error: penstock run needs \"aiohttp\", which is not installed\n    pip install 'penstock[run]'\n"


def test_a_missing_module_of_our_own_is_not_blamed_on_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a bug of ours that is shown as a missing extra."""

    def missing(name: str) -> None:
        raise ModuleNotFoundError("gone", name="penstock.cli.run")

    monkeypatch.setattr(importlib, "import_module", missing)
    result = CliRunner().invoke(main.cli, ["run"])
    assert isinstance(result.exception, ModuleNotFoundError)


ENDINGS = {
    "an answer of no": (exits.Invalid("no", "do this"), 1, "error: no\n    do this\n"),
    "an outage": (exits.Unreachable("gone"), 3, "error: gone\n"),
    "a wrong command line": (click.UsageError("what?"), 2, "Error: what?\n"),
    "an invalid pipeline": (
        errors.InvalidPipelineError([errors.Problem(field="spec.sinks", value="", message="is empty", line=3)]),
        1,
        "line 3: spec.sinks: is empty\n",
    ),
    "Ctrl-C": (KeyboardInterrupt(), 130, "\ninterrupted\n"),
    "an exit code of its own": (click.exceptions.Exit(3), 3, ""),
}


@pytest.mark.parametrize(("raised", "code", "said"), ENDINGS.values(), ids=ENDINGS)
def test_each_ending_has_its_exit_code(
    raised: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches an expected failure that leaves a traceback or the wrong code."""

    @click.command()
    def failing() -> None:
        raise raised

    group = lazy.LazyGroup(table={})
    group.add_command(failing)
    monkeypatch.setattr(main, "cli", failing)
    monkeypatch.setattr(sys, "argv", ["penstock"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code
    assert capsys.readouterr().err.endswith(said)
