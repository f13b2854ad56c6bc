"""Taking secrets out of what leaves a cluster: values that are known, and what looks like one. Pure.

Known values come first, in every form in which they get into logs; then anything that stands where passwords and tokens do.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib import parse

REMOVED: Final = "[removed]"
_LEAST_CHARACTERS: Final = 4
"""A shorter value would take out half of a log; who has one has other worries."""

_NAMED: Final = r"(?P<keep>\b(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)[\"']?\s*[=:]\s*[\"']?)"
_SUSPICIOUS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?P<keep>\b[a-z][a-z0-9+.-]*://[^\s/@:\"']*:)[^\s/@\"']+(?=@)",
        r"(?P<keep>\b(?:bearer|basic)\s+)[a-z0-9._~+/=-]{6,}",
        _NAMED + r"(?![\"'{\[\s]|null\b|true\b|false\b)[^\s\"',;&}\]]{4,}",
        r"(?P<keep>-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?=-----END)",
        r"(?P<keep>\b)eyJ[a-z0-9_-]{8,}\.[a-z0-9_-]{8,}\.[a-z0-9_-]{8,}",
    )
)


class Redactor:
    """`values` are secrets that are known, as text."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= _LEAST_CHARACTERS}
        # The longest first: one that holds another would leave its rest behind.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def cleaned(self, text: str) -> str:
        """The text without them."""
        if self._known:
            text = self._known.sub(REMOVED, text)
        for pattern in _SUSPICIOUS:
            text = pattern.sub(rf"\g<keep>{REMOVED}", text)
        return text


def _forms(value: str) -> Iterator[str]:
    """As it is, each line of it, and as it is written in JSON, in URLs and in base64."""
    for form in {value, value.strip(), *value.split("\n")}:
        yield form
        yield form.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        yield parse.quote(form, safe="")
        yield parse.quote_plus(form)
        encoded = base64.b64encode(form.encode()).decode()
        yield encoded
        yield encoded.rstrip("=")
