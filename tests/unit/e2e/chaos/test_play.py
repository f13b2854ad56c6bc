"""A fault's course, without one."""

from __future__ import annotations

import pathlib

from e2e.chaos import play


class Nursery:
    """Whose clock stands wrong."""

    shifted = 90.0

    def shift(self, seconds: float) -> None:
        self.shifted = seconds


def test_what_goes_wrong_is_in_the_report_and_the_clock_is_right_again() -> None:
    """Catches a fault that ends the whole run, one that counts as good, and a clock that the next fault inherits."""
    nursery = Nursery()
    played = play.Play(nursery, pathlib.Path(), 7)
    played.times, played.how = 3, "by hand"

    def perform() -> None:
        raise RuntimeError("no broker")

    told = played.reported("a fault", perform)
    assert (told.name, told.seed, told.times, told.how, told.error) == ("a fault", 7, 3, "by hand", "RuntimeError: no broker")
    assert told.verdict is None
    assert not told.good
    assert nursery.shifted == 0.0


def test_what_could_be_judged_before_is_told() -> None:
    """Catches a report that says nothing although rows were found to be lost."""
    played = play.Play(Nursery(), pathlib.Path(), 7)

    def perform() -> None:
        played.so_far = "what there was"
        raise RuntimeError("stuck")

    assert played.reported("a fault", perform).verdict == "what there was"


def test_a_name_is_a_folder() -> None:
    """Catches a fault whose name leaves its folder."""
    assert play.slug("kill -9, twice/again") == "kill--9--twice-again"
