"""The committed custom resource definitions are the ones the models and rules have, in the form a cluster takes."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from click import testing

from penstock.api import rules
from penstock.api.crd import kinds
from penstock.cli import crd

_COMMITTED = pathlib.Path(__file__).parents[2] / "charts" / "penstock" / "files" / "crds"
_BOUNDS = {
    "string": ("maxLength", "enum", "format"),
    "integer": ("format",),
    "array": ("maxItems",),
}
_BY_KIND = pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.plural)


def _schema(kind: kinds.Kind) -> dict[str, Any]:
    found: dict[str, Any] = kinds.definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def _parts(part: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each part of a structural schema with its path, as in a rule; `{}` is any key."""
    yield path, part
    if "items" in part:
        yield from _parts(part["items"], f"{path}[]")
    if "additionalProperties" in part:
        yield from _parts(part["additionalProperties"], f"{path}{{}}")
    for name, inner in part.get("properties", {}).items():
        yield from _parts(inner, f"{path}.{name}".removeprefix("."))


@_BY_KIND
def test_the_committed_definition_is_up_to_date(kind: kinds.Kind) -> None:
    """Catches an edit of models, rules or status without `make generate`."""
    assert (_COMMITTED / f"{kind.plural}.yaml").read_text(encoding="utf-8") == kinds.as_yaml(kind)


def test_the_command_prints_both_definitions() -> None:
    """Catches a separator that is missing or doubled, and one kind left out."""
    printed = testing.CliRunner().invoke(crd.crd)
    assert printed.exit_code == 0
    assert list(yaml.safe_load_all(printed.output)) == [kinds.definition(kind) for kind in kinds.KINDS]


@_BY_KIND
def test_every_part_has_a_type_a_bound_and_no_fraction(kind: kinds.Kind) -> None:
    """Catches what a cluster refuses or can't afford: a part without type, an unbounded list or text, a float."""
    odd = []
    for path, part in _parts(_schema(kind)):
        free = part.get("x-kubernetes-int-or-string") or part.get("x-kubernetes-preserve-unknown-fields")
        bounds = _BOUNDS.get(part.get("type", ""), ())
        is_own = path not in ("apiVersion", "kind")
        if (not free and (part.get("type") not in ("string", "integer", "boolean", "array", "object"))) or (
            is_own and bounds and not any(bound in part for bound in bounds)
        ):
            odd.append(path)
    assert odd == []


@_BY_KIND
def test_nothing_is_left_that_a_cluster_does_not_know(kind: kinds.Kind) -> None:
    """Catches a reference, a choice of types, a constant or a forbidden member that the generator passed on."""
    foreign = {"$ref", "$defs", "const", "oneOf", "title", "propertyNames", "discriminator", "exclusiveMinimum"}
    assert [path for path, part in _parts(_schema(kind)) if foreign & part.keys()] == []
    assert [path for path, part in _parts(_schema(kind)) if part.get("additionalProperties") is False] == []


@_BY_KIND
def test_no_bound_is_beyond_what_a_float_holds(kind: kinds.Kind) -> None:
    """Catches a maximum of 2**63 - 1: a cluster keeps it as a float, overflows, and refuses every value."""
    assert [path for path, part in _parts(_schema(kind)) if part.get("maximum", 0) > 1 << 53] == []


@_BY_KIND
def test_every_rule_is_asked_by_the_cluster_too(kind: kinds.Kind) -> None:
    """Catches a rule whose place the generator did not find: it would hold in files only."""
    asked = {
        (told["rule"], told.get("fieldPath", ""))
        for _, part in _parts(_schema(kind))
        for told in part.get("x-kubernetes-validations", ())
    }
    assert [rule for rule in kind.rules if (rule.cel, rule.field) not in asked] == []


@_BY_KIND
def test_a_rule_points_at_a_field_that_is_there(kind: kinds.Kind) -> None:
    """Catches a fieldPath that the cluster refuses, with all of the definition."""
    lost = []
    for path, part in _parts(_schema(kind)):
        for told in part.get("x-kubernetes-validations", ()):
            inner = part
            for name in told.get("fieldPath", "").split(".")[1:]:
                inner = inner.get("properties", {}).get(name)
                lost += [] if inner else [f"{path}{told['fieldPath']}"]
                inner = inner or {}
    assert lost == []


@_BY_KIND
def test_defaults_of_objects_are_complete(kind: kinds.Kind) -> None:
    """Catches `default: {}`: a cluster holds it against the object's rules before it fills in what is inside."""
    partial = [
        path
        for path, part in _parts(_schema(kind))
        if isinstance(part.get("default"), dict)
        for name, inner in part.get("properties", {}).items()
        if "default" in inner and name not in part["default"]
    ]
    assert partial == []


def test_the_schema_of_events_is_four_levels_deep() -> None:
    """Catches a recursion that ends early or never, and a last level with types that need parts, or with rules."""
    schema = _schema(kinds.KINDS[0])["properties"]["spec"]["properties"]["schema"]["properties"]["fields"]["items"]
    levels = [schema]
    while "fields" in levels[-1]["properties"]:
        levels.append(levels[-1]["properties"]["fields"]["items"])
    assert len(levels) == 4
    assert not {"List", "Struct"} & set(levels[-1]["properties"]["type"]["enum"])
    assert ["x-kubernetes-validations" in level for level in levels] == [True, True, True, False]


def test_a_name_too_long_for_its_pods_is_refused() -> None:
    """Catches a definition that takes names of 253 characters: what is made from them would not fit."""
    assert _schema(kinds.KINDS[0])["properties"]["metadata"]["properties"]["name"]["maxLength"] == 40


def test_what_a_replay_was_made_with_stays() -> None:
    """Catches a field of DeadLetterReplay that could be changed under a running replay."""
    spec = _schema(kinds.KINDS[1])["properties"]["spec"]
    free = {"suspend", "eventsPerSecond"}
    fixed = {told["fieldPath"][1:] for told in spec["x-kubernetes-validations"] if "oldSelf" in told["rule"]}
    assert spec["properties"].keys() - free == fixed


def test_status_is_a_subresource_without_defaults() -> None:
    """Catches a spec edit that could write status, and a status that the cluster fills in by itself."""
    for kind in kinds.KINDS:
        version = kinds.definition(kind)["spec"]["versions"][0]
        assert version["subresources"] == {"status": {}}
        status = _schema(kind)["properties"]["status"]
        assert [path for path, part in _parts(status) if "default" in part] == []


@_BY_KIND
def test_every_column_shows_something_that_exists(kind: kinds.Kind) -> None:
    """Catches a misspelt path, which kubectl shows as an empty column for ever."""
    paths = {f".{path}" for path, _ in _parts(_schema(kind))} | {".metadata.creationTimestamp"}
    shown = [column["jsonPath"] for column in kinds.definition(kind)["spec"]["versions"][0]["additionalPrinterColumns"]]
    assert [path for path in shown if path not in paths and "conditions[?(@.type==" not in path] == []


def test_the_rules_of_files_are_the_rules_of_the_cluster() -> None:
    """Catches a kind that was given another table of rules."""
    assert kinds.KINDS[0].rules == rules.BATCH_PIPELINE
    assert tuple(kinds.KINDS[1].rules[: len(rules.DEAD_LETTER_REPLAY)]) == rules.DEAD_LETTER_REPLAY
