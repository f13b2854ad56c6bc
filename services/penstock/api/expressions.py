"""The evaluator of CEL without its command line: its package imports that for everybody, with all a terminal can do (14 MB)."""

from __future__ import annotations

import sys
import types
from typing import Final

_COMMAND_LINE: Final = "cel.cli"

_is_ours = _COMMAND_LINE not in sys.modules
if _is_ours:
    sys.modules[_COMMAND_LINE] = types.ModuleType(_COMMAND_LINE)
try:
    import cel
    from cel import stdlib
finally:
    if _is_ours:
        del sys.modules[_COMMAND_LINE]

__all__ = ["cel", "stdlib"]
