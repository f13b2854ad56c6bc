"""What `penstock demo` tells a person to do next."""

from __future__ import annotations

import io
import pathlib

import rich.console

from penstock.cli import background, demo


def test_the_next_commands_can_be_copied_from_a_narrow_terminal() -> None:
    """Catches a command broken over two lines, and a query that looks for the table in another folder than the run's."""
    shown = io.StringIO()
    demo._say_next(rich.console.Console(file=shown, width=40, highlight=False), pathlib.Path("build/demo"))
    _, query, dead_letters, run = shown.getvalue().splitlines()
    assert query.startswith("  (cd build/demo/run && penstock query 'SELECT ")
    assert query.endswith("LIMIT 5' --data data)")
    assert dead_letters == "  penstock dlq ls --data build/demo/run/data"
    assert run == "  penstock run examples/clickstream/pipeline.yaml"


def test_a_relative_folder_means_the_same_to_the_pipeline_in_it_and_to_us() -> None:
    """Catches a pipeline that keeps its data in a folder of that name below its own, where nobody asks for it."""
    assert background.Pipeline(pathlib.Path("build/run"), pathlib.Path("p.yaml")).data.path.is_absolute()
