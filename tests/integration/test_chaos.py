"""The faults of `make chaos` in short form: each once under load, judged by the same checker. Seeds are in the names."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest
from e2e.chaos import faults, kills, processes, sinks, stage

SEED = int(os.environ.get("PENSTOCK_CHAOS_SEED", "20261121"))


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Nursery]:
    with processes.Nursery(tmp_path_factory.mktemp("zygote")) as started:
        yield started


@pytest.mark.parametrize("fault", [*kills.together(), *faults.EACH, *sinks.EACH], ids=lambda fault: f"{fault.name}, seed {SEED}")
def test_nothing_is_lost_doubled_or_changed_by(fault: stage.Fault, nursery: processes.Nursery, tmp_path: pathlib.Path) -> None:
    """Catches a commit before the sink's answer, a block dropped, letters not flushed, ranges outside the rows' transaction."""
    told = stage.happen(fault, nursery, tmp_path, SEED, stage.SHORT)
    assert told.good, f"seed {told.seed}\n{told.verdict}\nrecoveries {told.recoveries}\n{told.error}"
