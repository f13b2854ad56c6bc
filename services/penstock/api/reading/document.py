"""YAML text as plain data, with the line of every value.

Values are read the way kubectl reads them (YAML 1.1 as Go's library has it, measured with `kubectl annotate --local`), not
the way Python's library does: `1:30` is text, `1e3` is a number, `y` is true. One file must mean one thing on a laptop and
in a cluster. What kubectl takes without a word and people don't mean, such as a key written twice, is refused here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml
from yaml import composer, nodes, parser, reader, resolver, scanner

from penstock.api.reading import scalars
from penstock.core import errors

Path = tuple[str | int, ...]
"""Where a value stands: `("spec", "sinks", 0, "name")`."""

MAX_BYTES: Final = 1 << 20
MAX_VALUES: Final = 20_000
MAX_DEPTH: Final = 48

_PART: Final = re.compile(r"\[[0-9]+\]|[^.\[\]]+")
_STRING_TAG: Final = "tag:yaml.org,2002:str"
_PLAIN_TAGS: Final = frozenset({_STRING_TAG, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a file. `written` has the text of each unquoted value that YAML doesn't read as plain text."""

    data: Any
    lines: dict[Path, int]
    written: dict[Path, str]
    problems: list[errors.Problem]

    def line(self, path: Path) -> int:
        """The line of the value at `path`, or of the nearest one around it; 1-based."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)


def field(path: Path) -> str:
    """A path as people write it: `spec.sinks[0].name`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{printable(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def printable(text: str) -> str:
    """Without what would steer a terminal."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)


def path(field: str) -> Path:
    """The reverse of `field`."""
    return tuple(int(part[1:-1]) if part.startswith("[") else part for part in _PART.findall(field))


def parse(text: str, *, file: str = "") -> list[Document]:
    """All documents that hold anything. Raises InvalidPipelineError where the text isn't YAML."""
    try:
        return [_read(root) for root in _compose(text) if not _is_null(root)]
    except yaml.MarkedYAMLError as error:
        raise errors.InvalidPipelineError([_syntax_problem(error, text, file)]) from None
    except reader.ReaderError as error:
        raise errors.InvalidPipelineError([_character_problem(error, text, file)]) from None
    except (ValueError, OverflowError):
        message = "an escape such as \\U00110000 names a character that doesn't exist"
        raise errors.InvalidPipelineError([errors.Problem(field=file, value="", message=message)]) from None


class _Composer(reader.Reader, scanner.Scanner, parser.Parser, composer.Composer, resolver.BaseResolver):
    """PyYAML up to its node tree, which has the marks; nothing is resolved, and hostile files end early."""

    def __init__(self, text: str) -> None:
        reader.Reader.__init__(self, text)
        scanner.Scanner.__init__(self)
        parser.Parser.__init__(self)
        composer.Composer.__init__(self)
        resolver.BaseResolver.__init__(self)
        self._depth = 0
        self._values = 0

    def compose_node(self, parent: nodes.Node | None, index: Any) -> nodes.Node | None:
        self._depth += 1
        self._values += 1
        if self._depth > MAX_DEPTH or self._values > MAX_VALUES:
            raise _TooMuchError(problem_mark=self.get_mark())
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _compose(text: str) -> Iterator[nodes.Node]:
    stream = _Composer(text)
    while stream.check_node():
        node = stream.get_node()
        if node is not None:
            yield node


class _TooMuchError(yaml.MarkedYAMLError):
    """More values or deeper than any pipeline; an alias counts as often as it is used."""


def _is_null(node: nodes.Node) -> bool:
    return isinstance(node, nodes.ScalarNode) and node.style is None and scalars.resolve(node.value) is None


def _read(root: nodes.Node) -> Document:
    document = Document(data=None, lines={}, written={}, problems=[])
    return dataclasses.replace(document, data=_Reading(document).value(root, ()))


class _Reading:
    """One walk over a node tree. Aliases are followed, and each visit counts, so that they can't multiply without end."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._visits = 0
        self._depth = 0

    def value(self, node: nodes.Node, path: Path) -> Any:
        self._visits += 1
        # A mapping may be merged into itself, which makes its path no longer.
        if self._visits > MAX_VALUES or self._depth > MAX_DEPTH:
            raise _TooMuchError(problem_mark=node.start_mark)
        self._depth += 1
        try:
            return self._value(node, path)
        finally:
            self._depth -= 1

    def _value(self, node: nodes.Node, path: Path) -> Any:
        self._document.lines[path] = node.start_mark.line + 1
        if node.tag not in _PLAIN_TAGS:
            self._complain(node, path, node.tag, "a YAML tag has no meaning here", "Remove the tag; put text in quotes.")
            return None
        if isinstance(node, nodes.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, nodes.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path) if isinstance(node, nodes.ScalarNode) else None

    def _scalar(self, node: nodes.ScalarNode, path: Path) -> Any:
        found = node.value if node.style is not None else scalars.resolve(node.value)
        if isinstance(found, str) and any(0xD800 <= ord(character) <= 0xDFFF for character in found):
            self._complain(node, path, "", "holds half of a surrogate pair, which is no character", "Write the character itself.")
            return None
        if node.style is None and (not isinstance(found, str) or scalars.is_date(found)):
            self._document.written[path] = node.value
        return found

    def _mapping(self, node: nodes.MappingNode, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if isinstance(key_node, nodes.ScalarNode) and key_node.style is None and key_node.value == "<<":
                merged |= self._merged(value_node, path)
            elif (key := self._key(key_node, path)) is not None:
                line = key_node.start_mark.line + 1
                if key in first_lines:
                    message = f"is written twice, first in line {first_lines[key]}"
                    self._complain(key_node, (*path, key), "", message, "Keep one of the two.")
                    continue
                first_lines[key] = line
                own[key] = self.value(value_node, (*path, key))
                self._document.lines[(*path, key)] = line
        return {key: value for key, value in (merged | own).items() if value is not None}

    def _key(self, node: nodes.Node, path: Path) -> str | None:
        if not isinstance(node, nodes.ScalarNode):
            self._complain(node, path, "", "a key must be text, not a list or mapping", "Write `key: value`.")
            return None
        key = str(node.value)
        if node.style is None and not isinstance(scalars.resolve(key), str):
            message = f"YAML reads the key {key} as {scalars.spoken(scalars.resolve(key))}"
            self._complain(node, (*path, key), "", message, f'Quote it: "{key}".')
            return None
        return key

    def _merged(self, node: nodes.Node, path: Path) -> dict[str, Any]:
        sources = node.value if isinstance(node, nodes.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for source in reversed(sources):
            value = self.value(source, path)
            if isinstance(value, dict):
                merged |= value
            else:
                self._complain(node, path, "", "<< takes a mapping or a list of mappings", "Point it at a mapping's anchor.")
        return merged

    def _complain(self, node: nodes.Node, path: Path, value: str, message: str, remedy: str) -> None:
        line = node.start_mark.line + 1
        problem = errors.Problem(field=field(path), value=value, message=message, remedy=remedy, line=line)
        self._document.problems.append(problem)


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> errors.Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    if isinstance(error, _TooMuchError):
        message = f"too large: at most {MAX_VALUES} values, nested at most {MAX_DEPTH} deep"
        return errors.Problem(field=file, value="", message=message, remedy=_SIZE_REMEDY, line=line)
    if tab_line := _tab_near(text, line):
        remedy = "Use spaces; most editors can turn tabs into spaces."
        return errors.Problem(field=file, value="", message="tabs are not allowed in indentation", remedy=remedy, line=tab_line)
    said = "; ".join(part for part in (error.context, error.problem) if part)
    return errors.Problem(field=file, value="", message=f"this is not YAML: {said}", remedy=_SYNTAX_REMEDY, line=line)


_SIZE_REMEDY: Final = "Split the file. An alias counts as often as it is used."
_SYNTAX_REMEDY: Final = "Look at this line and the one before it: indentation, a missing colon or quote, an unclosed bracket."


def _tab_near(text: str, line: int) -> int:
    """The line at or just before `line` that is indented with a tab, or 0."""
    all_lines = text.splitlines()
    for number in (line, line - 1, line + 1):
        if 0 < number <= len(all_lines):
            content = all_lines[number - 1]
            if "\t" in content[: len(content) - len(content.lstrip())]:
                return number
    return 0


def _character_problem(error: reader.ReaderError, text: str, file: str) -> errors.Problem:
    line = text.count("\n", 0, error.position) + 1
    message = f"holds the control character U+{ord(text[error.position]):04X}, which YAML doesn't allow"
    remedy = "Remove it, or escape it inside double quotes."
    return errors.Problem(field=file, value="", message=message, remedy=remedy, line=line)
