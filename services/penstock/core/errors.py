"""What goes wrong because of what a person wrote, said so that they can mend it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault in a pipeline object: where, what was found there, what is wrong, and the way out.

    `field` is a path such as `spec.transform.select[3].value`; `line` is 1-based, 0 where there is no file.
    """

    field: str
    value: str
    message: str
    remedy: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        shown = f' "{self.value}"' if self.value else ""
        remedy = f"\n    {self.remedy}" if self.remedy else ""
        return f"{place}{self.field}:{shown} {self.message}{remedy}"

    @property
    def sentence(self) -> str:
        """On one line, where others may follow: a remedy is told apart from the fault, and nothing ends the last sentence."""
        fault = str(dataclasses.replace(self, remedy=""))
        between = ". " if self.remedy[:1].isupper() else "; "
        told = f"{fault.rstrip('.')}{between}{self.remedy}" if self.remedy else fault
        return told.replace("\n    ", " ").removesuffix(".")


class InvalidPipelineError(Exception):
    """A pipeline object that can't run as it is written; carries every problem found, not the first."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
