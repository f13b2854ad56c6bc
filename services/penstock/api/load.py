"""From a file's text to checked objects, or to every problem in it, each with its line.

In three steps, as in a cluster: is it YAML, is each field what it should be, do the fields fit together. A step that finds
problems ends the reading of that document; the other documents of the file are still read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Final

import pydantic

from penstock.api import check
from penstock.api.model import pipeline, replay
from penstock.api.reading import document, words
from penstock.core import errors

Object = pipeline.BatchPipeline | replay.DeadLetterReplay

_MODEL_OF_KIND: Final[dict[str, type[pipeline.BatchPipeline] | type[replay.DeadLetterReplay]]] = {
    "BatchPipeline": pipeline.BatchPipeline,
    "DeadLetterReplay": replay.DeadLetterReplay,
}
_SERVER_METADATA: Final = frozenset(
    {
        "generateName",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    }
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An object that keeps all rules, and the document it came from."""

    object: Object
    document: document.Document

    def located(self, problem: errors.Problem) -> errors.Problem:
        """A problem found later, with its line in the file."""
        return _located(problem, self.document)


def decode(raw: bytes, *, file: str = "") -> str:
    """A file's bytes as text. Raises InvalidPipelineError: too large, or not UTF-8."""
    _refuse_large(len(raw), file)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        raise _invalid(file, message, "Save the file as UTF-8.", line=line) from None


def read(text: str | bytes, *, file: str = "") -> list[Loaded]:
    """All objects of a file with their lines. Raises InvalidPipelineError with every problem of every document."""
    if isinstance(text, bytes):
        text = decode(text, file=file)
    _refuse_large(len(text.encode("utf-8", "surrogatepass")), file)
    documents = document.parse(text, file=file)
    if not documents:
        raise _invalid(file, "holds nothing", "Write a BatchPipeline; `penstock infer` makes one from a sample of events.")
    results = [_object(one, file) for one in documents]
    problems = [problem for result in results if not isinstance(result, Loaded) for problem in result]
    if problems:
        raise errors.InvalidPipelineError(problems)
    return [result for result in results if isinstance(result, Loaded)]


def load_one(text: str | bytes, *, file: str = "") -> pipeline.BatchPipeline:
    """The one BatchPipeline of a file. Raises InvalidPipelineError, also where there is another number of objects."""
    return read_one(text, file=file)[0]


def read_one(text: str | bytes, *, file: str = "") -> tuple[pipeline.BatchPipeline, Loaded]:
    """The same, and what finds the lines of its fields."""
    found = read(text, file=file)
    if len(found) == 1 and isinstance(found[0].object, pipeline.BatchPipeline):
        return found[0].object, found[0]
    held = ", ".join(f"{one.object.kind} {one.object.metadata.name}" for one in found)
    raise _invalid(file, f"must hold exactly one BatchPipeline, and holds {held}", "Put each pipeline into a file of its own.")


def _invalid(file: str, message: str, remedy: str, *, line: int = 0) -> errors.InvalidPipelineError:
    return errors.InvalidPipelineError([errors.Problem(field=file, value="", message=message, remedy=remedy, line=line)])


def _refuse_large(size_bytes: int, file: str) -> None:
    if size_bytes > document.MAX_BYTES:
        remedy = "Split the file; a cluster doesn't take objects of this size either."
        raise _invalid(file, f"is larger than {document.MAX_BYTES} bytes", remedy)


def _object(one: document.Document, file: str) -> Loaded | list[errors.Problem]:
    """One document as an object that keeps all rules, or its problems, in order of lines."""
    found = _model(one, file)
    if isinstance(found, errors.Problem):
        return sorted([*one.problems, found], key=_line)
    model, problems = found
    problems = [*one.problems, *problems, *words.traps(model, one)]
    data = _without_server_fields(one.data) | {"kind": model.__name__}
    try:
        made = model.model_validate_json(json.dumps(data), by_alias=True, by_name=False)
    except pydantic.ValidationError as error:
        problems = [*problems, *words.problems(model, error, one)]
        return _distinct(problems)
    problems = problems or [_located(problem, one) for problem in check.problems(made)]
    return _distinct(problems) if problems else Loaded(object=made, document=one)


def _model(
    one: document.Document, file: str
) -> tuple[type[pipeline.BatchPipeline] | type[replay.DeadLetterReplay], list[errors.Problem]] | errors.Problem:
    """The model of the document's kind; a kind that is nearly right is taken for the one that was meant."""
    if not isinstance(one.data, dict):
        message = "must be an object with apiVersion, kind, metadata and spec"
        return errors.Problem(field=file, value=words.shown(one.data), message=message, line=one.line(()))
    kind = one.data.get("kind")
    if isinstance(kind, str) and kind in _MODEL_OF_KIND:
        return _MODEL_OF_KIND[kind], []
    meant = words.nearest(str(kind), _MODEL_OF_KIND)
    message = "is missing" if kind is None else "must be BatchPipeline or DeadLetterReplay"
    remedy = f"Did you mean {meant}?" if meant else f"Write kind: BatchPipeline, with apiVersion: {pipeline.API_VERSION}."
    problem = errors.Problem(field="kind", value=words.shown(kind), message=message, remedy=remedy, line=one.line(("kind",)))
    return (_MODEL_OF_KIND[meant], [problem]) if meant else problem


def _without_server_fields(data: dict[str, Any]) -> dict[str, Any]:
    """Without what a cluster adds to an object, so that `kubectl get -o yaml` can be run as it is."""
    kept = {key: value for key, value in data.items() if key != "status"}
    metadata = kept.get("metadata")
    if isinstance(metadata, dict):
        kept["metadata"] = {key: value for key, value in metadata.items() if key not in _SERVER_METADATA}
    return kept


def _located(problem: errors.Problem, one: document.Document) -> errors.Problem:
    return dataclasses.replace(problem, line=one.line(document.path(problem.field)))


def _distinct(problems: Sequence[errors.Problem]) -> list[errors.Problem]:
    """In order of lines; of several problems of one value, those that the YAML itself has come first."""
    return sorted(dict.fromkeys(problems), key=_line)


def _line(problem: errors.Problem) -> int:
    return problem.line
