"""From a sink of the pipeline object to its writer."""

import json

import pyarrow.dataset as ds
import pytest
from tests.unit.sinks import writes

from penstock.api.model import sinks
from penstock.core import results
from penstock.sinks import port, registry


def sink(**fields):
    return sinks.Sink.model_validate_json(json.dumps({"name": "warehouse", **fields}))


async def land(writer, schema_only=False):
    rows = writes.numbered(0, 2)
    await writer.describe(writes.LANE, "clicks", rows.schema)
    if not schema_only:
        assert (await writer.write(writes.batch(rows, writes.span(0, 2)))).written == 2
    await writer.close()


@pytest.mark.parametrize("absolute", [True, False])
async def test_a_duckdb_sink_writes_to_its_path(tmp_path, absolute):
    """Catches a relative path taken from somewhere else than where Penstock was started."""
    path = str(tmp_path / "data" / "out.db") if absolute else "data/out.db"
    told = sink(type="DuckDB", duckDB={"path": path, "table": "clicks"})
    await land(registry.open_writer(told, directory=tmp_path))
    assert (tmp_path / "data" / "out.db").exists()


async def test_a_duckdb_sinks_table_policy_is_kept(tmp_path):
    """Catches a policy that is read and then ignored."""
    told = sink(type="DuckDB", tablePolicy="Verify", duckDB={"path": "out.db", "table": "clicks"})
    with pytest.raises(port.SinkError, match="NO_DATABASE"):
        await land(registry.open_writer(told, directory=tmp_path))


@pytest.mark.parametrize("url", ["file://{0}/lake", "file://./lake"])
@pytest.mark.parametrize("format_", ["Parquet", "Ndjson"])
async def test_a_files_sink_writes_below_its_url(tmp_path, url, format_):
    """Catches a URL whose first slash is lost, and a format that is not the one asked for."""
    told = sink(type="Files", files={"url": url.format(tmp_path), "format": format_})
    await land(registry.open_writer(told, directory=tmp_path))
    assert len(list((tmp_path / "lake").glob(f"*.{format_.lower()}"))) == 1


async def test_a_files_sinks_partitions_become_folders(tmp_path):
    """Catches partitions that are read and then ignored."""
    told = sink(type="Files", files={"url": "file://./lake", "partition": [{"name": "name"}]})
    await land(registry.open_writer(told, directory=tmp_path))
    assert {path.parent.name for path in (tmp_path / "lake").rglob("*.parquet")} == {"name=row%200", "name=row%201"}
    assert sorted(ds.dataset(tmp_path / "lake", partitioning="hive").to_table().column("id").to_pylist()) == [0, 1]


async def test_an_http_sink_asks_for_its_secrets_and_says_when_there_are_none(tmp_path):
    """Catches a header that goes out empty because nobody could read its value."""
    header = {"name": "Authorization", "secretKeyRef": {"name": "hook", "key": "token"}}
    told = sink(type="HTTP", http={"url": "http://localhost", "headers": [header]})
    with pytest.raises(port.SinkError, match="token of a secret hook"):
        await land(registry.open_writer(told, directory=tmp_path), schema_only=True)
    asked = []
    writer = registry.open_writer(told, directory=tmp_path, secrets=lambda *named: asked.append(named) or "value")
    await land(writer, schema_only=True)
    assert asked == [("hook", "token")]


@pytest.mark.parametrize(
    "fields",
    [
        {
            "type": "Kafka",
            "kafka": {"bootstrapServers": ["k:1"], "topic": "t", "format": {"type": "Protobuf", "registry": {"url": "http://r"}}},
        },
        {"type": "Files", "files": {"url": "s3://bucket/logs"}},
    ],
    ids=["Kafka", "S3"],
)
def test_what_can_not_be_written_here_is_said_before_anything_starts(tmp_path, fields):
    """Catches a type that is accepted and then goes nowhere."""
    with pytest.raises(port.SinkError, match="warehouse") as caught:
        registry.open_writer(sink(**fields), directory=tmp_path)
    assert caught.value.failure.result_class is results.ResultClass.CONFIG
    assert caught.value.failure.remedy
