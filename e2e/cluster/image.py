"""Penstock's image without Docker: Debian's Python below, the wheels of images/requirements.lock, our packages on top.

The files are those of images/Dockerfile, and its settings are read from it. The lower layers are made once per machine.
"""

from __future__ import annotations

import compileall
import dataclasses
import json
import os
import pathlib
import platform
import py_compile
import re
import shutil
import sys
import tempfile

import penstock
from e2e.cluster import cache, oci, shell

REPOSITORY = pathlib.Path(__file__).parents[2]
IMAGES = REPOSITORY / "images"
NAME = f"penstock.dev/penstock:{penstock.__version__}"
_PLACE = "opt/penstock"
_PACKAGES = (REPOSITORY / "services" / "penstock", REPOSITORY / "operator" / "penstock_operator")
_PYTHON = (3, 11)
_DEBIAN = "bookworm"
_OF_DEBIAN = ("ca-certificates", "libstdc++6", "python3", "tzdata")
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
# The releases of glibc up to Debian 12's, for one of which a wheel must be made; the best first.
_GLIBC = range(36, 4, -1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the last stage of a Dockerfile says of the container."""

    environment: dict[str, str]
    user: str
    entrypoint: list[str]


def build(target: pathlib.Path, name: str = NAME) -> None:
    """Write the image as an OCI archive. Raises `cache.MissingError` where something for it is missing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    said = settings((IMAGES / "Dockerfile").read_text())
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="new-") as scratch:
        layers = [_base(), _libraries(), _ours(pathlib.Path(scratch))]
        image = oci.Image(name=name, layers=layers, entrypoint=said.entrypoint, environment=said.environment, user=said.user)
        written = pathlib.Path(scratch) / "image.tar"
        oci.write(written, image)
        written.rename(target)


def settings(dockerfile: str) -> Settings:
    """The last stage's ENV, USER and ENTRYPOINT."""
    stage = re.split(r"^FROM .*$", dockerfile.replace("\\\n", " "), flags=re.MULTILINE)[-1]
    said = {word: rest.strip() for word, rest in re.findall(r"^(ENV|USER|ENTRYPOINT) (.*)$", stage, flags=re.MULTILINE)}
    environment = dict(pair.split("=", 1) for pair in said["ENV"].split())
    return Settings(environment=environment, user=said["USER"], entrypoint=json.loads(said["ENTRYPOINT"]))


def _base() -> pathlib.Path:
    how = repr((_DEBIAN, _OF_DEBIAN, _LEFT_OUT, platform.machine()))
    folder = cache.folder("images", b"base", how.encode())
    cache.fill(folder, "image: Debian with Python", _make_base)
    return folder / "base.tar"


def _make_base(folder: pathlib.Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise cache.MissingError("an image without Docker needs mmdebstrap. Debian, Ubuntu: sudo apt-get install -y mmdebstrap")
    options = ["--quiet", "--variant=essential", f"--include={','.join(_OF_DEBIAN)}"]
    options += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
    shell.run(["nice", "mmdebstrap", *options, _DEBIAN, str(folder / "base.tar")], environment=environment)


def _libraries() -> pathlib.Path:
    inputs = [(IMAGES / name).read_bytes() for name in ("requirements.lock", "unneeded.txt")]
    folder = cache.folder("images", b"libraries", platform.machine().encode(), _host_python(), *inputs)
    cache.fill(folder, "image: wheels", _make_libraries)
    return folder / "libraries.tar"


def _make_libraries(folder: pathlib.Path) -> None:
    root = folder / "root"
    libraries = root / _PLACE / "lib"
    machine = platform.machine()
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--no-deps", "--require-hashes"]
    options += ["--only-binary=:all:", f"--python-version={'.'.join(map(str, _PYTHON))}", "--implementation=cp"]
    options += [f"--platform=manylinux_2_{minor}_{machine}" for minor in _GLIBC] + [f"--platform=manylinux2014_{machine}"]
    command = [sys.executable, "-m", "pip", "install", *options, f"--target={libraries}"]
    shell.run([*command, f"--requirement={IMAGES / 'requirements.lock'}"])
    for pattern in unneeded():
        for path in libraries.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _compile(root)
    oci.write_layer(folder / "libraries.tar", {"/": root})
    shutil.rmtree(root)


def unneeded() -> list[str]:
    """Patterns of files to leave out."""
    return [line for line in (IMAGES / "unneeded.txt").read_text().splitlines() if not line.startswith("#")]


def _ours(folder: pathlib.Path) -> pathlib.Path:
    root = folder / "root"
    for package in _PACKAGES:
        target = root / _PLACE / "lib" / package.name
        shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__"))
    (root / _PLACE / "bin").mkdir()
    shutil.copy(IMAGES / "penstock", root / _PLACE / "bin" / "penstock")
    _compile(root)
    oci.write_layer(folder / "ours.tar", {"/": root})
    return folder / "ours.tar"


def _compile(root: pathlib.Path) -> None:
    """Byte code that does not depend on times of files. Another Python's would be of no use; the container then does without."""
    if sys.version_info[:2] == _PYTHON:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(root, quiet=2, stripdir=str(root), prependdir="/", invalidation_mode=mode)


def _host_python() -> bytes:
    return repr(sys.version_info[:2] == _PYTHON).encode()
