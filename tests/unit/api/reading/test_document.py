"""YAML text as plain data with lines."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.api.reading import document
from penstock.core import errors


def test_every_value_knows_its_line() -> None:
    """Catches lines counted from 0, and the line of a key's value instead of the key's."""
    (found,) = document.parse("a:\n  b:\n    - x\n    -\n      c: 1\n")
    assert [found.line(path) for path in [("a",), ("a", "b"), ("a", "b", 0), ("a", "b", 1, "c")]] == [1, 2, 3, 5]


def test_a_value_that_is_not_there_has_the_line_around_it() -> None:
    """Catches line 0 for a field that is missing or has a default."""
    (found,) = document.parse("\na:\n  b: 1\n")
    assert (found.line(("a", "zzz", 3)), found.line(("nowhere",))) == (2, 2)


@pytest.mark.parametrize("path", [(), ("spec",), ("spec", "sinks", 0, "duckDB", "path"), ("a", 1, 2, "b")], ids=str)
def test_a_path_survives_being_written(path: document.Path) -> None:
    """Catches a problem that is found later and can't be led back to its line."""
    assert document.path(document.field(path)) == path


def test_merged_mappings_give_way_to_what_is_written() -> None:
    """Catches << taken for a field, and a merged value that wins."""
    (found,) = document.parse("base: &b {x: 1, y2: 2}\nmore: {<<: *b, x: 3}\nboth: {<<: [{x: 5}, *b]}\n")
    assert (found.data["more"], found.data["both"]) == ({"x": 3, "y2": 2}, {"x": 5, "y2": 2})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5_000,
        "- " * 5_000,
        "a: &a [*a]",
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"b{n}: &b{n} [{', '.join(['*' + (f'b{n - 1}' if n else 'a')] * 8)}]\n" for n in range(8)),
        "[" + "x, " * 21_000 + "]",
    ],
    ids=["deep flow", "deep block", "endless", "bomb", "many"],
)
def test_a_hostile_file_ends_early(text: str) -> None:
    """Catches a file that takes the stack or the memory with it."""
    with pytest.raises(errors.InvalidPipelineError, match="too large"):
        document.parse(text, file="f.yaml")


@pytest.mark.parametrize(
    ("text", "line"),
    [("a:\n\tb: 1\n", 2), ("a:\n  - b\n\t- c\n", 3), ("a: 1\n\n\tb: 2\n", 3), ("a:\n  b:\n  \tc: 1\n  d\n", 3)],
)
def test_a_tab_in_indentation_is_named_with_its_line(text: str, line: int) -> None:
    """Catches "found character that cannot start any token"."""
    with pytest.raises(errors.InvalidPipelineError) as caught:
        document.parse(text, file="f.yaml")
    (problem,) = caught.value.problems
    assert ("tabs are not allowed" in problem.message, problem.line) == (True, line)


def test_a_tab_inside_text_is_nobodys_business() -> None:
    """Catches the refusal of a tab that isn't indentation."""
    (found,) = document.parse('a: "x\ty"\nb: |\n  x\n  \ty\n')
    assert found.data == {"a": "x\ty", "b": "x\n\ty\n"}


def test_of_a_key_written_twice_the_first_is_kept_and_both_lines_are_told() -> None:
    """Catches the last one winning without a word, as in kubectl."""
    (found,) = document.parse("a: 1\nb: 2\na: 3\n")
    (problem,) = found.problems
    assert (found.data, problem.line, "line 1" in problem.message) == ({"a": 1, "b": 2}, 3, True)


def _problems(text: str) -> list[errors.Problem]:
    try:
        return [problem for found in document.parse(text, file="f") for problem in found.problems]
    except errors.InvalidPipelineError as error:
        return error.problems


@given(st.text(alphabet=st.sampled_from(list(" \t\n-:,[]{}&*!|>'\"#%@`?ab10~<=.\\u\x00\ud800\U0001f600")), max_size=60))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    """Catches an exception of the YAML library that gets out."""
    assert all(problem.message for problem in _problems(text))


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.yn[]", min_size=1, max_size=4), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), _PLAIN, max_size=4))
def test_what_a_yaml_writer_writes_is_read_back(value: dict[str, object]) -> None:
    """Catches a kind of quoting, nesting or escaping that is read as something else."""
    found = document.parse(yaml.safe_dump({"root": value}, default_style='"'))
    assert [one.data for one in found] == [_without_null_members({"root": _texts(value)})]


def _texts(value: object) -> object:
    """The writer quotes everything, and gives what isn't text a tag, which has no meaning here."""
    if isinstance(value, dict):
        return {key: _texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_texts(inner) for inner in value]
    return value if isinstance(value, str) else None


def _without_null_members(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_null_members(inner) for key, inner in value.items() if inner is not None}
    return [_without_null_members(inner) for inner in value] if isinstance(value, list) else value


def test_a_mapping_that_is_merged_into_itself_is_refused() -> None:
    """Catches a walk that only ends at the interpreter's own limit: found by the hostile corpus."""
    with pytest.raises(errors.InvalidPipelineError, match="too large"):
        document.parse("a: &a {<<: *a}")
