"""Whether a live object still says what was applied. The cluster adds fields of its own, writes quantities in another way and
leaves out what is empty; none of that is a difference.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Mapping
from typing import Any, Final

_KEYS: Final = ("name", "mountPath", "containerPort", "port", "uid", "topologyKey")
"""By which items of a list are told apart, where they have one of these."""
_QUANTITY: Final = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
_SCALE: Final = {
    "m": decimal.Decimal("0.001"),
    "k": decimal.Decimal(10**3),
    "M": decimal.Decimal(10**6),
    "G": decimal.Decimal(10**9),
    "T": decimal.Decimal(10**12),
    "Ki": decimal.Decimal(1 << 10),
    "Mi": decimal.Decimal(1 << 20),
    "Gi": decimal.Decimal(1 << 30),
    "Ti": decimal.Decimal(1 << 40),
}


def says(live: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there."""
    if isinstance(wanted, Mapping):
        there = live if isinstance(live, Mapping) else {}
        return all(says(there.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return _says_list(live or [], list(wanted))
    return live == wanted or (wanted in ("", None) and live in ("", None)) or _same_amount(live, wanted)


def _says_list(live: Any, wanted: list[Any]) -> bool:
    """Named items are looked up by name, and the cluster may have more of them; other lists are alike item by item."""
    key = next((key for key in _KEYS if wanted and all(isinstance(one, Mapping) and key in one for one in wanted)), None)
    if key is None:
        return len(live) == len(wanted) and all(says(*pair) for pair in zip(live, wanted, strict=True))
    known = {one.get(key): one for one in live if isinstance(one, Mapping)}
    return all(one[key] in known and says(known[one[key]], one) for one in wanted)


def _same_amount(live: Any, wanted: Any) -> bool:
    if not isinstance(live, str) or not isinstance(wanted, str):
        return False
    amounts = [_amount(one) for one in (live, wanted)]
    return amounts[0] is not None and amounts[0] == amounts[1]


def _amount(text: str) -> decimal.Decimal | None:
    found = _QUANTITY.match(text)
    return decimal.Decimal(found[1]) * _SCALE.get(found[2] or "", decimal.Decimal(1)) if found else None
