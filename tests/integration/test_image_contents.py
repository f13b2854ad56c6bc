"""What images/unneeded.txt leaves out of the image is needed by no module of ours."""

from __future__ import annotations

import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parents[2]
_EVERYTHING = """
import importlib, pathlib, pkgutil, sys
import numpy
place = pathlib.Path(numpy.__file__).parents[1]
patterns = [line for line in pathlib.Path(sys.argv[1]).read_text().splitlines() if not line.startswith("#")]
left_out = {path.resolve() for pattern in patterns for path in place.glob(pattern)}
assert len(left_out) > 500, len(left_out)

class Image:
    def find_spec(self, name, path, target=None):
        for folder in path or [place]:
            base = pathlib.Path(folder).resolve() / name.rpartition(".")[2]
            there = {base, base.with_suffix(".py"), *base.parent.glob(base.name + ".*.so")}
            if any(one in left_out or left_out & set(one.parents) for one in there):
                raise ModuleNotFoundError(f"{name} is not in the image", name=name)
        return None

sys.meta_path.insert(0, Image())
import penstock, penstock_operator
for root in (penstock, penstock_operator):
    for module in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
mapped = {pathlib.Path(line.split(maxsplit=5)[5].strip()) for line in open("/proc/self/maps") if line.count("/")}
print(sorted(str(path) for path in mapped & left_out))
"""


def test_every_module_of_ours_is_imported_without_what_is_left_out() -> None:
    """Catches a pattern that takes away what a role needs, which no pod would start to say."""
    unneeded = _ROOT / "images" / "unneeded.txt"
    done = subprocess.run(
        [sys.executable, "-c", _EVERYTHING, str(unneeded)], capture_output=True, text=True, timeout=280, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr[-3000:]
