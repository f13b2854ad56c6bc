"""Secrets on one machine."""

from __future__ import annotations

import pathlib

import pytest
from tests.unit.api import examples

from penstock.ingest import secret
from penstock.machine import secrets
from penstock.sinks import port


def _store(folder: pathlib.Path, *names: str, **environment: str) -> secrets.SecretStore:
    return secrets.SecretStore(folder, {f"{secrets.PREFIX}{key}": value for key, value in environment.items()}, names)


def test_files_are_read_anew_and_hide_the_environment(tmp_path: pathlib.Path) -> None:
    """Catches a changed file that needs a restart, hidden files of mounted Secrets taken for keys, and two sources mixed."""
    folder = tmp_path / "door"
    folder.mkdir()
    (folder / "..data").mkdir()
    (folder / ".hidden").write_bytes(b"no")
    (folder / "one").write_bytes(b"1\n")
    kept = _store(tmp_path, "door", DOOR_TWO="2").named("door")
    before = kept.read()
    (folder / "one").write_bytes(b"3")
    assert (before, kept.read()) == ({"one": b"1\n"}, {"one": b"3"})


def test_a_variable_belongs_to_the_longest_name_that_fits(tmp_path: pathlib.Path) -> None:
    """Catches the private key of `door-tls` accepted as a token of `door`."""
    store = _store(tmp_path, "door", "door-tls", DOOR_TLS_TLS_CRT="c", DOOR_TLS_TLS_KEY="k", DOOR_ALICE="a", OTHER_X="x")
    assert store.named("door").read() == {"alice": b"a"}
    assert store.named("door-tls").read() == {"tls.crt": b"c", "tls.key": b"k"}


def test_a_missing_secret_names_the_places_looked_at(tmp_path: pathlib.Path) -> None:
    """Catches an error that leaves a person to guess."""
    with pytest.raises(secret.SecretError) as missing:
        _store(tmp_path, "door-tls").named("door-tls").read()
    assert f"{tmp_path / 'door-tls'}/" in str(missing.value)
    assert "PENSTOCK_SECRET_DOOR_TLS_<KEY>" in str(missing.value)


def test_a_value_for_a_sink_is_text_or_a_misconfiguration(tmp_path: pathlib.Path) -> None:
    """Catches a final line break sent as part of a password, and a crash where a lane should pause."""
    store = _store(tmp_path, "hook", HOOK_API_KEY="abc\n")
    assert store.value("hook", "api-key") == "abc"
    for name, key in (("hook", "nope"), ("gone", "x")):
        with pytest.raises(port.SinkError):
            store.value(name, key)


def test_every_secret_a_pipeline_names_is_found() -> None:
    """Catches a reference in a place nobody thought of, whose variables then belong to a shorter name."""
    ingest = {"auth": {"type": "BearerToken", "secretRef": {"name": "tokens"}}, "tls": {"secretRef": {"name": "tokens-tls"}}}
    assert {"tokens", "tokens-tls"} <= secrets.names(examples.made(source={"ingest": ingest}))
