"""`penstock validate`: is this file a pipeline that can run, and if not, what to change, line by line."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence

import click

from penstock.api import jsonschema, load, lower
from penstock.api.model import pipeline
from penstock.api.reading import document
from penstock.cli import exits
from penstock.core import errors

EPILOG = """\b
Examples:
  penstock validate pipeline.yaml
  penstock validate pipelines/*.yaml -o json
  penstock infer sample.ndjson | penstock validate -
  penstock validate --schema > batchpipeline.schema.json

\b
Exit codes:
  0 every file is valid · 1 at least one is not · 2 the command line is wrong
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found in one file: the names of its objects, or its problems."""

    file: str
    objects: Sequence[str] = ()
    problems: Sequence[errors.Problem] = ()


@click.command(epilog=EPILOG, short_help="Check a pipeline file; name line, field, value, remedy.")
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of the answer."
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a BatchPipeline, for editors, and do nothing else.")
def validate(files: tuple[str, ...], output: str, schema: bool) -> None:
    """Check each FILE ("-" is the standard input) as `penstock run` and a cluster would, its SQL included."""
    if schema:
        click.echo(json.dumps(jsonschema.json_schema(), indent=2))
        return
    if not files:
        raise click.UsageError("Name at least one FILE, or - for the standard input.")
    verdicts = [judge(_bytes(file), file) for file in files]
    for line in _FORMS[output](verdicts):
        click.echo(line)
    if any(verdict.problems for verdict in verdicts):
        sys.exit(exits.INVALID)


def judge(raw: bytes, file: str) -> Verdict:
    """One file's verdict: the text, the fields, the rules between them, then the SQL."""
    try:
        loaded = load.read(raw, file=file)
        problems = list(dict.fromkeys(problem for one in loaded for problem in _sql_problems(one)))
    except errors.InvalidPipelineError as error:
        return Verdict(file=file, problems=error.problems)
    objects = [f"{one.object.kind} {one.object.metadata.name}" for one in loaded]
    return Verdict(file=file, objects=objects, problems=problems)


def _sql_problems(loaded: load.Loaded) -> Iterator[errors.Problem]:
    """The transform is compiled once for each sink; the engine is needed only here."""
    if not isinstance(loaded.object, pipeline.BatchPipeline):
        return
    from penstock.core.transform import compile as transform_compile

    for sink in loaded.object.spec.sinks:
        for problem in transform_compile.check(lower.transform_spec(loaded.object, sink)):
            yield loaded.located(problem)


def _bytes(file: str) -> bytes:
    """No more than it takes to see that a file is too large."""
    with sys.stdin.buffer if file == "-" else pathlib.Path(file).open("rb") as stream:
        return stream.read(document.MAX_BYTES + 1)


def _as_text(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for verdict in verdicts:
        if not verdict.problems:
            yield f"{verdict.file}: OK ({', '.join(verdict.objects)})"
        for problem in verdict.problems:
            yield f"{verdict.file}{_rest(problem, verdict.file)}"


def _rest(problem: errors.Problem, file: str) -> str:
    """`:12: field: "value" message` and the remedy, as editors and compilers write it."""
    unlocated = dataclasses.replace(problem, line=0, field="" if problem.field == file else problem.field)
    line = f":{problem.line}" if problem.line else ""
    return f"{line}: {str(unlocated).removeprefix(':').lstrip()}"


def _as_json(verdicts: Sequence[Verdict]) -> Iterator[str]:
    found = [
        {
            "file": verdict.file,
            "valid": not verdict.problems,
            "objects": list(verdict.objects),
            "problems": [dataclasses.asdict(problem) for problem in verdict.problems],
        }
        for verdict in verdicts
    ]
    yield json.dumps(found, indent=2)


_FORMS = {"text": _as_text, "json": _as_json}
