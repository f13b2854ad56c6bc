"""Where a server may listen, and what it needs for that."""

from __future__ import annotations

import pathlib
import shutil

import grpc
import pytest

from penstock.ingest import secret
from penstock.machine.peers import gate

_CERTIFICATES = pathlib.Path(__file__).parents[3] / "certificates"


def _tls(folder: pathlib.Path, *, authority: bool = True, own: bool = True) -> pathlib.Path:
    folder.mkdir()
    if own:
        shutil.copy(_CERTIFICATES / "first.crt", folder / "tls.crt")
        shutil.copy(_CERTIFICATES / "first.key", folder / "tls.key")
    if authority:
        shutil.copy(_CERTIFICATES / "authority.crt", folder / "ca.crt")
    return folder


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:9095", True),
        ("127.8.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/a.sock", True),
        ("0.0.0.0:9095", False),
        ("[::]:9095", False),
        ("10.0.0.5:9095", False),
        ("localhost.example.com:1", False),
    ],
)
def test_only_this_machine_s_addresses_need_no_lock(address: str, local: bool) -> None:
    """Catches a wildcard address, or a name that only begins like this machine's, that counts as local."""
    assert gate.is_local(address) is local
    peers = gate.Peers().load()
    if local:
        peers.check(address, "the sink")
    else:
        with pytest.raises(gate.OpenDoorError, match="--token-file"):
            peers.check(address, "the sink")
    gate.Peers(gate.Files(insecure=True)).load().check(address, "the sink")


def test_a_token_or_certificates_of_clients_are_a_lock_and_a_certificate_alone_is_none(tmp_path: pathlib.Path) -> None:
    """Catches a server that is encrypted and open to everybody."""
    (tmp_path / "token").write_text("t\n")
    gate.Peers(gate.Files(token=tmp_path / "token")).load().check("0.0.0.0:1", "the sink")
    gate.Peers(gate.Files(tls=_tls(tmp_path / "both"))).load().check("0.0.0.0:1", "the sink")
    with pytest.raises(gate.OpenDoorError):
        gate.Peers(gate.Files(tls=_tls(tmp_path / "own", authority=False))).load().check("0.0.0.0:1", "the sink")
    with pytest.raises(secret.SecretError, match=r"needs tls\.crt"):
        gate.Peers(gate.Files(tls=_tls(tmp_path / "ca", own=False))).load().check("0.0.0.0:1", "the sink")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "tls.key").unlink(), "belong together"),
        (lambda folder: (folder / "ca.crt").write_text("nonsense"), r"ca\.crt: not certificates"),
        (lambda folder: shutil.copy(_CERTIFICATES / "second.key", folder / "tls.key"), "belong together"),
        (lambda folder: [file.unlink() for file in folder.iterdir()], "neither"),
    ],
)
def test_files_that_can_t_be_used_are_named(tmp_path: pathlib.Path, spoil, said: str) -> None:
    """Catches a process that starts, and of which every call then fails in a handshake."""
    folder = _tls(tmp_path / "tls")
    spoil(folder)
    with pytest.raises(secret.SecretError, match=said):
        gate.Peers(gate.Files(tls=folder)).load()


async def test_what_stands_in_the_place_of_a_channel_tells_its_state(tmp_path: pathlib.Path) -> None:
    """Catches a lane that halts when its sink is away, because its channel can't say whether it is connected."""
    (tmp_path / "token").write_text("t\n")
    channel = gate.Peers(gate.Files(token=tmp_path / "token")).load().channel("127.0.0.1:1", ())
    assert channel.get_state() is grpc.ChannelConnectivity.IDLE
    await channel.close()
