"""The benchmark itself works, from the first stage to the real pipeline process; its figures are not looked at."""

from __future__ import annotations

import json
import math
import pathlib
import subprocess
import sys

from benchmarks import cases

ROOT = pathlib.Path(__file__).parents[2]


def test_a_smoke_run_leaves_an_entry_for_every_case(tmp_path):
    """Catches a case that no longer fits the product it measures, or whose output differs from its reference's."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", f"--out={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [entry["name"] for entry in summary] == [*(one.name for one in cases.ALL), "deduplicate_and_transform"]
    assert all(math.isfinite(entry["cpu_us_per_event"]) and entry["target"] for entry in summary)
    assert json.loads((tmp_path / "results.json").read_text())["environment"]["quick"]
