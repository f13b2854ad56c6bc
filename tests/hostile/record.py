"""Writes what Penstock answers to the corpus today: answers.json, and the table in docs/hostile-input.md. Read the change."""

from __future__ import annotations

import json
import pathlib
import tempfile

from tests.hostile import asking
from tests.integration import running

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "hostile-input.md"
_MARK = "<!-- from here on written by python -m tests.hostile.record -->\n"
_LONGEST_SHOWN = 160


def table(answers: dict[str, str]) -> str:
    """The answers as a table in Markdown."""
    rows = ["| input | answer |", "|---|---|"]
    for name, said in answers.items():
        shown = said if len(said) <= _LONGEST_SHOWN else said[:_LONGEST_SHOWN] + "…"
        plain = "".join(one if one.isprintable() else "�" for one in shown).replace("|", "\\|").replace("<", "&lt;")
        rows.append(f"| {name.replace('|', chr(92) + '|')} | {plain} |")
    return "\n".join(rows) + "\n"


def page(answers: dict[str, str]) -> str:
    """The page as it should be: what is written by hand, then the table."""
    return PAGE.read_text().partition(_MARK)[0] + _MARK + "\n" + table(answers)


def main() -> None:
    answers = dict(asking.of_this_process())
    with tempfile.TemporaryDirectory() as folder, running.Running(pathlib.Path(folder), asking.PIPELINE) as run:
        run.start()
        answers |= dict(asking.of_the_doors(asking.Doors(run)))
    asking.ANSWERS.write_text(json.dumps(answers, indent=1, ensure_ascii=True) + "\n")
    PAGE.write_text(page(answers))


if __name__ == "__main__":
    main()
