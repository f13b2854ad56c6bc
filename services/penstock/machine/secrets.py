"""Secrets on one machine: files below the data directory, else variables of the environment.

`DIR/secrets/<name>/<key>` holds one value, and the files are read anew each time. Where there is no such folder,
`PENSTOCK_SECRET_<NAME>_<KEY>` does, in capitals and with `_` for every other character; the environment is read once, at the
entry point. A folder hides the variables of its name entirely.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Mapping

from penstock.api import references
from penstock.api.model import base as api_base
from penstock.api.model import pipeline as api_pipeline
from penstock.ingest import secret as ports
from penstock.sinks import tables

PREFIX = "PENSTOCK_SECRET_"
_MOST_BYTES = 1024 * 1024


class SecretStore:
    """The secrets one pipeline names."""

    def __init__(self, directory: pathlib.Path, environment: Mapping[str, str], names: Iterable[str]) -> None:
        self._directory = directory
        self._environment = _by_secret(environment, names)

    def named(self, name: str) -> Secret:
        """The secret of this name, whether there is one or not: reading tells."""
        return Secret(name, self._directory / name, self._environment.get(name, {}))

    def value(self, name: str, key: str) -> str:
        """One value as text, as it is now, without a final line break. Raises SinkError (config), as sinks expect."""
        secret = self.named(name)
        try:
            values = secret.read()
        except ports.SecretError as error:
            raise tables.misconfigured("SECRET", str(error), f"put the value in the file {key}") from error
        fitting = [found for found in values if found == key] or [found for found in values if _spelled(found) == _spelled(key)]
        if not fitting:
            message = f'secret "{name}" has no key "{key}"; it has {", ".join(sorted(values)) or "none"}'
            raise tables.misconfigured("SECRET", message, "add the key, or name another one")
        return values[fitting[0]].decode("utf-8", "replace").removesuffix("\n")


class Secret:
    """See `ports.Secret`."""

    def __init__(self, name: str, folder: pathlib.Path, variables: Mapping[str, bytes]) -> None:
        self.name = name
        self._folder, self._variables = folder, variables

    def read(self) -> Mapping[str, bytes]:
        """See `ports.Secret`."""
        try:
            if self._folder.is_dir():
                # Mounted Secrets keep their versions in folders and links that begin with a dot.
                files = (path for path in self._folder.iterdir() if path.is_file() and not path.name.startswith("."))
                return {path.name: _value(path) for path in sorted(files)}
        except OSError as error:
            raise ports.SecretError(f'secret "{self.name}" can\'t be read: {error}') from error
        if not self._variables:
            variables = f"{PREFIX}{_spelled(self.name)}_<KEY>"
            raise ports.SecretError(
                f'no secret "{self.name}": looked for files in {self._folder.absolute()}/ and for variables {variables}'
            )
        return self._variables


def names(pipeline: api_pipeline.BatchPipeline) -> set[str]:
    """The secrets that the pipeline object names anywhere."""
    return names_in(pipeline.spec)


def names_in(part: api_base.Model) -> set[str]:
    """The secrets that a part of an object names."""
    return references.secrets(part)


def _by_secret(environment: Mapping[str, str], wanted: Iterable[str]) -> dict[str, dict[str, bytes]]:
    """Each variable belongs to the longest name that fits, so that the keys of `door-tls` are no tokens of `door`."""
    prefixes = {f"{PREFIX}{_spelled(name)}_": name for name in sorted(wanted)}
    found: dict[str, dict[str, bytes]] = {}
    for variable, value in environment.items():
        fitting = [prefix for prefix in prefixes if variable.startswith(prefix) and len(variable) > len(prefix)]
        if fitting:
            prefix = max(fitting, key=len)
            key = variable.removeprefix(prefix)
            found.setdefault(prefixes[prefix], {})[_FILE_NAMES.get(key, key.lower())] = value.encode("utf-8", "surrogateescape")
    return found


_FILE_NAMES = {"TLS_CRT": "tls.crt", "TLS_KEY": "tls.key", "CA_CRT": "ca.crt"}
"""Keys whose own spelling a variable's name can't hold."""


def _spelled(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _value(path: pathlib.Path) -> bytes:
    with path.open("rb") as file:
        value = file.read(_MOST_BYTES + 1)
    if len(value) > _MOST_BYTES:
        raise OSError(f"{path} is larger than {_MOST_BYTES:,} bytes")
    return value
