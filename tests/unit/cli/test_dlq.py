"""`penstock dlq` over a real log of a few dead letters."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import pathlib

import click
import pytest
from click import testing

from penstock.cli import dlq, exits
from penstock.core import deadletters, dialects
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.embedded import schema as embedded_schema

START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
HOUR = 3_600_000_000


def letter(number: int, **changes: object) -> deadletters.DeadLetter:
    fields: dict[str, object] = {
        "id": f"{number:08x}" + "0" * 24,
        "lane": "shop/orders/warehouse",
        "namespace": "shop",
        "pipeline": "orders",
        "sink": "warehouse",
        "log_id": "log-1",
        "partition": 0,
        "offset": number,
        "ordinal": 4,
        "items": (2, 5),
        "unit": deadletters.Unit.ROW,
        "stage": "transform",
        "category": deadletters.Category.TRANSFORM_FAILED,
        "code": "ConversionError",
        "message": f'could not parse "{number}" [red]not markup[/red]',
        "expression": "departed_at",
        "fingerprint": "TransformFailed: could not parse ?",
        "original": b'{"id":%d,"at":"soon"}' % number,
        "original_format": deadletters.OriginalFormat.JSON,
        "received_at_microseconds": START,
        "append_time_microseconds": START,
        "failed_at_microseconds": START + number * HOUR,
        "schema_fingerprint": "f",
        "revision": "r1",
        "traceparent": "",
        "attempt": 0,
    }
    return deadletters.DeadLetter(**{**fields, **changes})  # type: ignore[arg-type]


def write(
    path: pathlib.Path, *letters: deadletters.DeadLetter, headers: dict[str, bytes] | None = None, producer: str = "p"
) -> None:
    async def append() -> None:
        log = await embedded.EmbeddedLog.open(path / "log.db", partitions=2)
        for sequence, item in enumerate(letters):
            value, known = dialects.encode(item)
            record = port.NewRecord(value=value, headers=headers or known, producer=producer, sequence=sequence // 2)
            await log.append(port.DEAD_LETTERS, sequence % 2, record)
        await log.close()

    asyncio.run(append())


@pytest.fixture
def data(tmp_path) -> pathlib.Path:
    """Four letters in two partitions; the first was written twice, as after a crash."""
    rejected = letter(2, category=deadletters.Category.SINK_REJECTED, sink="archive")
    write(tmp_path, letter(1), rejected, letter(1), letter(3), letter(4, message="escape \x1b[31m\nnew line"))
    return tmp_path


def run(*arguments: object) -> str:
    result = testing.CliRunner().invoke(dlq.dlq, [str(argument) for argument in arguments], standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.stdout


def ids(output: str) -> list[int]:
    return [int(json.loads(line)["id"][:8], 16) for line in output.splitlines()]


def test_letters_are_listed_newest_first_and_equal_ids_once(data):
    """Catches an order by partition, and a letter counted twice because a crash wrote it twice."""
    assert ids(run("ls", "--data", data, "-o", "json")) == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--category", "sinkrejected"], [2]),
        (["--category", "SinkRejected", "--category", "TransformFailed"], [4, 3, 2, 1]),
        (["--sink", "warehouse"], [4, 3, 1]),
        (["--since", "2026-01-01T03:00:00Z"], [4, 3]),
        (["--since", "2026-01-01 05:00+02:00"], [4, 3]),
        (["--limit", "2"], [4, 3]),
        (["--sink", "warehouse", "--limit", "1"], [4]),
        (["--sink", "nowhere"], []),
    ],
    ids=str,
)
def test_a_listing_is_narrowed(data, arguments, expected):
    """Catches a filter that is not applied, or that is applied after the limit."""
    assert ids(run("ls", "--data", data, "-o", "json", *arguments)) == expected


def test_the_table_ends_with_the_counts_of_all_that_match(data):
    """Catches counts of what is shown instead of what is there."""
    lines = run("ls", "--data", data, "--limit", "1").splitlines()
    assert lines[-2] == "1 of 4 dead letters: TransformFailed 3 · SinkRejected 1"
    assert lines[-1] == "next: penstock dlq show 000000040000"
    assert "0/4/4/2,5" in lines[1]


def test_what_came_from_outside_is_text_and_nothing_else(data):
    """Catches a message that colours the terminal, moves its cursor or vanishes as markup."""
    output = run("ls", "--data", data) + run("show", "--data", data, "00000004")
    assert "\x1b" not in output
    assert r"escape \x1b[31m\nnew line" in output
    assert "[red]not markup[/red]" in output


def test_show_prints_every_field_and_the_original(data):
    """Catches a letter without its original, which the listing does not read."""
    output = run("show", "--data", data, "00000001")
    for expected in ("shop/orders/warehouse", "2026-01-01T01:00:00.000000Z", "ConversionError", "2, 5", '"at": "soon"'):
        assert expected in output
    assert json.loads(run("show", "--data", data, "00000001", "-o", "json"))["original"] == {"id": 1, "at": "soon"}


def test_an_original_that_is_no_json_is_shown_as_its_bytes(tmp_path):
    """Catches a page that fails on exactly the events that are malformed."""
    write(tmp_path, letter(1, original=b'{"id":\xff\x1b'))
    assert r'{"id":\xff\x1b' in run("show", "--data", tmp_path, "00000001")
    shown = json.loads(run("show", "--data", tmp_path, "00000001", "-o", "json"))
    assert (shown["original"], shown["original_base64"]) == (None, "eyJpZCI6/xs=")


@pytest.mark.parametrize(
    ("asked", "message", "remedy"),
    [
        ("0000000", "4 dead letters begin with 0000000", "one of"),
        ("00000003f", "no dead letter has the id 00000003f", "the nearest is 00000003"),
        ("ffff", "no dead letter has the id ffff", "penstock dlq ls"),
    ],
    ids=str,
)
def test_an_id_that_names_no_one_letter_is_answered_with_the_nearest(data, asked, message, remedy):
    """Catches the first of several being shown as if it were meant."""
    with pytest.raises(exits.Invalid) as caught:
        run("show", "--data", data, asked)
    assert caught.value.message == message
    assert remedy in caught.value.remedy


def test_no_dead_letters_is_an_answer(tmp_path):
    """Catches an empty table, and a failure where all is well."""
    write(tmp_path)
    assert run("ls", "--data", tmp_path) == "no dead letters\n"
    assert run("ls", "--data", tmp_path, "--sink", "s") == "no dead letters match\n"
    with pytest.raises(exits.Invalid, match="there are no dead letters"):
        run("show", "--data", tmp_path, "ab")


def test_a_letter_of_another_release_is_counted_and_hides_no_other(tmp_path):
    """Catches a listing that stops at the first record it does not know."""
    write(tmp_path, letter(1), letter(2), producer="old")
    write(tmp_path, letter(3), headers={"penstock.dead-letter.version": b"9"}, producer="new")
    output = run("ls", "--data", tmp_path)
    assert "\n2 dead letters: TransformFailed 2 · 1 not readable\n" in output
    assert "partition 0, offset 1: penstock.dead-letter.version" in output


def test_what_can_not_be_read_is_named_as_often_as_is_asked_for(tmp_path):
    """Catches a stranger's record that scripts never hear of, one that breaks their JSON, and a page of nothing else."""
    write(tmp_path, letter(1), producer="own")
    write(tmp_path, letter(2), letter(3), headers={"who": b"\x1b[31m"}, producer="stranger")
    done = testing.CliRunner().invoke(dlq.dlq, ["ls", "--data", str(tmp_path), "-o", "json"])
    assert ids(done.stdout) == [1]
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["partition 0, offset 1", "partition 1, offset 0"]
    output = run("ls", "--data", tmp_path, "--limit", "1")
    assert "\n1 dead letter: TransformFailed 1 · 2 not readable\n" in output
    assert output.count("not readable by this release") == 1
    assert "\nand 1 more that are not readable (--limit shows more)\n" in output


def test_a_letter_whose_event_is_damaged_is_listed_and_left_out_of_an_export(tmp_path):
    """Catches an export, or an analysis, that ends at the first event that is not what was written."""
    write(tmp_path, letter(1), letter(2), letter(3))
    with contextlib.closing(embedded_schema.open_writer(tmp_path / "log.db")) as connection:
        connection.execute("UPDATE value SET content = x'00' WHERE id = 3")
    assert ids(run("ls", "--data", tmp_path, "-o", "json")) == [3, 2, 1]
    done = testing.CliRunner().invoke(dlq.dlq, ["export", "-", "--data", str(tmp_path)])
    assert (done.exit_code, ids(done.stdout)) == (0, [1, 2])
    assert f"left out {letter(3).id}: dead-letters/0: the record at offset 1 is not what was written" in done.stderr
    assert "2 exported" in done.stderr
    assert "3 outstanding dead letters, 1 cause" in run("analyse", "--data", tmp_path)
    with pytest.raises(exits.Unreachable, match="offset 1 is not what was written"):
        run("show", "--data", tmp_path, "00000003")


def test_a_directory_without_a_log_is_named(tmp_path):
    """Catches a traceback where nothing has run yet."""
    with pytest.raises(exits.Unreachable, match=r"no log\.db"):
        run("ls", "--data", tmp_path)


def test_a_time_that_is_none_is_refused_with_the_forms(data):
    """Catches a filter that silently admits everything."""
    with pytest.raises(click.BadParameter, match="15m"):
        run("ls", "--data", data, "--since", "yesterday")


@pytest.mark.parametrize("command", [[], ["ls"], ["show"]], ids=str)
def test_help_has_examples(command):
    """Catches a command whose help leaves the reader guessing."""
    assert "Examples:" in testing.CliRunner().invoke(dlq.dlq, [*command, "--help"]).output


@pytest.mark.parametrize("dialect", dialects.Dialect, ids=lambda dialect: dialect.value)
def test_letters_are_exported_as_records_of_a_dialect(data, dialect):
    """Catches an export that other tools can't read, and one that loses a part of the letter."""
    records = [json.loads(line) for line in run("export", "-", "--data", data, "--dialect", dialect.value.lower()).splitlines()]
    headers = [{one["name"]: base64.b64decode(one["value_base64"]) for one in record["headers"]} for record in records]
    read = [
        dialects.decode(base64.b64decode(record["value_base64"]), names) for record, names in zip(records, headers, strict=True)
    ]
    assert sorted(int(one.id[:8], 16) for one in read) == [1, 2, 3, 4]
    assert letter(3) in read
