"""What the commands of single parts take."""

from __future__ import annotations

import pathlib

import click
import click.testing
import msgspec
import pytest

from penstock.cli import roles, serving

_PIPELINE = {
    "apiVersion": "penstock.dev/v1alpha1",
    "kind": "BatchPipeline",
    "metadata": {"name": "clicks"},
    "spec": {
        "log": {"type": "Kafka", "kafka": {"bootstrapServers": ["127.0.0.1:1"]}},
        "sinks": [{"name": "warehouse", "type": "DuckDB", "duckDB": {"path": "x.duckdb", "table": "t"}}],
    },
}


@pytest.mark.parametrize(
    ("told", "taken"),
    [("a:1", "a:1"), ("a:1,b:2", "a:1,b:2"), ("a:1, b:2,a:1", "a:1,b:2"), ("a:1,", None), ("a:1,b", None), ("", None)],
)
def test_several_addresses_are_each_an_address(told: str, taken: str | None) -> None:
    """Catches a second address that nobody looked at, and one that counts twice because it was written twice."""
    if taken is None:
        with pytest.raises(click.BadParameter, match="HOST:PORT"):
            serving.Addresses().convert(told, None, None)
    else:
        assert serving.Addresses().convert(told, None, None) == taken


def test_files_on_a_machine_have_one_address(tmp_path: pathlib.Path) -> None:
    """Catches two processes that write one file, found out only when both have."""
    file = tmp_path / "pipeline.yaml"
    file.write_bytes(msgspec.yaml.encode(_PIPELINE))
    told = [str(file), "--sink=warehouse", "--sink-address=127.0.0.1:1,127.0.0.1:2"]
    result = click.testing.CliRunner().invoke(roles.batcher, told)
    assert result.exit_code == 2
    assert "one writer" in result.output
    assert "give its address alone" in " ".join(result.output.split())
