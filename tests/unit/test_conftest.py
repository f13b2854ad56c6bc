"""Under PENSTOCK_REQUIRE_ALL nothing is left out unnoticed."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

CONFTEST = pathlib.Path(__file__).parents[1] / "conftest.py"

LEAVES_OUT = {
    "a test that skips itself": "import pytest\ndef test_a():\n    pytest.skip('no broker')\n",
    "a test that is marked": "import pytest\n@pytest.mark.skip(reason='no broker')\ndef test_a(): pass\n",
    "a module that skips itself": "import pytest\npytest.skip('no broker', allow_module_level=True)\n",
}
FINE = {
    "a test that passes": "def test_a(): pass\n",
    "an expected failure": "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_a(): assert False\n",
}


def run(folder: pathlib.Path, source: str, *, required: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_a.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    environment = {**os.environ, "PENSTOCK_REQUIRE_ALL": required, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("source", LEAVES_OUT.values(), ids=LEAVES_OUT)
def test_a_skip_is_a_failure_that_gives_its_reason(tmp_path: pathlib.Path, source: str) -> None:
    """Catches a kind of skip that slips through: CI would be green with half of the tests left out."""
    done = run(tmp_path, source, required="1")
    assert done.returncode not in (0, 5)
    assert "no broker" in done.stdout


@pytest.mark.parametrize("source", FINE.values(), ids=FINE)
def test_what_is_no_skip_stays_as_it_was(tmp_path: pathlib.Path, source: str) -> None:
    """Catches expected failures turned into failures."""
    assert run(tmp_path, source, required="1").returncode == 0


@pytest.mark.parametrize("required", ["", "0"])
def test_elsewhere_a_skip_is_allowed(tmp_path: pathlib.Path, required: str) -> None:
    """Catches the rule applied on every laptop."""
    assert run(tmp_path, LEAVES_OUT["a test that skips itself"], required=required).returncode == 0
