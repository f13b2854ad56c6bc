"""The list of deliberate breakages keeps up with the code it breaks; `make mutants` tries them."""

from __future__ import annotations

import ast
import shutil

import pytest
from tests.mutants import catalogue

ALL = catalogue.load()


@pytest.mark.parametrize("mutant", ALL, ids=[mutant.name for mutant in ALL])
def test_a_mutant_breaks_the_code_as_it_stands_and_names_tests_that_exist(tmp_path, mutant):
    """Catches a list that rots: a mutant whose text is gone breaks nothing, and one without tests can't be noticed."""
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    shutil.copy(catalogue.ROOT / mutant.file, copy)
    before = copy.read_text()
    catalogue.plant(mutant, tmp_path)
    ast.parse(copy.read_text())
    assert copy.read_text() != before
    assert mutant.tests
    assert all((catalogue.ROOT / test.partition("::")[0]).exists() for test in mutant.tests)


def test_a_mutant_that_no_longer_fits_is_said(tmp_path):
    """Catches a run that tries an unbroken tree and calls the mutant a survivor, or worse, caught by a flaky test."""
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    twice = catalogue.Mutant(name="n", file="a.py", old="x = 1", new="x = 2", tests=())
    with pytest.raises(catalogue.StaleError, match=r"stands 2 times in a\.py"):
        catalogue.plant(twice, tmp_path)
