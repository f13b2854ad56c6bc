"""Which lane takes the letters of a topic, and on which cluster the topic is looked for."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from tests.integration import lane_run

from penstock.api import load
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import replay as api_replay
from penstock.core import deadletters
from penstock.machine import secrets, strays


def pipeline(sinks: int = 1, **spec: Any) -> api_pipeline.BatchPipeline:
    described = msgspec.yaml.decode(lane_run.pipeline(**spec))
    [first] = described["spec"]["sinks"]
    described["spec"]["sinks"] = [{**first, "name": f"sink{number}"} for number in range(sinks)]
    return load.load_one(msgspec.yaml.encode(described).decode())


KAFKA_LOG = {"type": "Kafka", "kafka": {"bootstrapServers": ["127.0.0.1:1"], "replicationFactor": 1}}


def test_the_only_sink_need_not_be_named() -> None:
    """Catches a pipeline of one sink that asks which one."""
    assert strays.home(pipeline(), ()).lane == "default/clicks/sink0"
    assert strays.home(pipeline(3), {"sink1"}).sink == "sink1"


@pytest.mark.parametrize(
    ("sinks", "said"),
    [
        ((), "spec.select.sinks (--sink): letters of a topic go to one sink, and these are 2: name one of sink0, sink1"),
        (("sink0", "sink1"), "and these are 2: name one of sink0, sink1"),
        (("lake",), "spec.select.sinks: the pipeline has no sink lake; it has sink0, sink1"),
    ],
)
def test_where_it_is_not_clear_which_sink_is_meant_the_field_is_named(sinks: tuple[str, ...], said: str) -> None:
    """Catches letters that go to all lanes, or to the first."""
    with pytest.raises(strays.StraysError, match=re.escape(said)):
        strays.home(pipeline(2), sinks)


def test_a_renamed_sink_knows_what_it_was_called() -> None:
    """Catches a new name under which everything is put back again."""
    described = msgspec.yaml.decode(lane_run.PIPELINE)
    described["spec"]["sinks"][0] |= {"name": "lake", "renamedFrom": "warehouse"}
    found = strays.home(load.load_one(msgspec.yaml.encode(described).decode()), ())
    assert found.formerly == ["default/clicks/warehouse"]


def test_letters_are_written_as_the_source_of_the_pipeline_is() -> None:
    """Catches Avro in the topic of an Avro pipeline that is read as JSON, and lands as a second letter."""
    assert strays.home(pipeline(), ()).original_format is deadletters.OriginalFormat.JSON
    kafka = {"bootstrapServers": ["127.0.0.1:1"], "topics": ["orders"]}
    for told, wanted in (({"type": "Json"}, "Json"), ({"type": "Avro", "registry": {"url": "http://127.0.0.1:1"}}, "Avro")):
        found = strays.home(pipeline(source={"type": "Kafka", "kafka": {**kafka, "format": told}}), ())
        assert found.original_format.value == wanted


@pytest.mark.parametrize(
    ("spec", "topic", "said"),
    [
        ({}, {"topic": "t"}, "spec.source.kafkaTopic.bootstrapServers (--brokers): is missing"),
        ({"log": KAFKA_LOG}, {"topic": "default.clicks.dead-letters"}, "is the pipeline's own"),
        (
            {},
            {
                "topic": "t",
                "bootstrapServers": ["127.0.0.1:1"],
                "authentication": {"type": "Plain", "username": "u", "passwordSecretRef": {"name": "nobody", "key": "password"}},
            },
            'no secret "nobody"',
        ),
    ],
    ids=["no cluster", "its own", "no password"],
)
async def test_what_can_not_be_read_is_told_before_a_broker_is_asked(spec: Any, topic: Any, said: str, tmp_path: Any) -> None:
    """Catches letters of the pipeline's own taken for somebody's, and a traceback in place of the field's name."""
    told = api_replay.KafkaTopic.model_validate_json(msgspec.json.encode(topic))
    store = secrets.SecretStore(tmp_path, {}, ())
    with pytest.raises(strays.StraysError, match=re.escape(said)):
        async with strays.opened(pipeline(**spec), None, told, (), store):  # type: ignore[arg-type]
            pass
