"""What the operator has in memory from its first second on."""

from __future__ import annotations

import json
import subprocess
import sys

_LOADED = "import json, sys, penstock_operator.main; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def test_the_operator_starts_without_what_only_pods_need() -> None:
    """Catches an import that costs every cluster tens of megabytes: columns, an engine, a terminal."""
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, timeout=120, check=True)
    loaded = set(json.loads(done.stdout))
    assert loaded & {"pyarrow", "numpy", "duckdb", "aiokafka", "asyncpg", "prompt_toolkit", "typer", "uvloop"} == set()
    assert "kopf" in loaded
