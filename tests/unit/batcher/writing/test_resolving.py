"""The endpoints behind an address; the name service is a stand-in."""

from __future__ import annotations

import asyncio
import socket

import pytest

from penstock.batcher.writing import resolving

_V4, _V6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("warehouse.web.svc:9095", True),
        ("10.0.0.5:9095", False),
        ("[::1]:9095", False),
        ("localhost:9095", False),
        ("unix:/tmp/sink.sock", False),
    ],
)
def test_only_names_are_looked_up(address, name):
    """Catches a look-up per write on one machine, and a name that is taken as it was at the start for ever."""
    assert resolving.is_name(address) == name


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ([(_V4, "10.0.0.2"), (_V4, "10.0.0.1"), (_V4, "10.0.0.1")], {"10.0.0.1:7": "w:7", "10.0.0.2:7": "w:7"}),
        ([(_V6, "fd00::2"), (_V6, "fd00::1")], {"[fd00::1]:7": "w:7", "[fd00::2]:7": "w:7"}),
        ([(_V4, "10.0.0.1"), (_V6, "fd00::1")], {"w:7": ""}),
        ([(_V4, "10.0.0.1")], {"w:7": ""}),
        (socket.gaierror("no such name"), {"w:7": ""}),
    ],
    ids=["several", "several of the new kind", "one server on both kinds", "one", "none"],
)
async def test_a_name_for_several_is_several(monkeypatch, told, found):
    """Catches all writes to the first pod of a headless service, one server taken for two, and a lane without an endpoint
    because the name service was away."""

    async def getaddrinfo(host, port, **_):
        assert (host, port) == ("w", 7)
        if isinstance(told, Exception):
            raise told
        return [(kind, None, None, "", (host, 7)) for kind, host in told]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    assert await resolving.resolve(["w:7"]) == found
    assert await resolving.resolve(["1.2.3.4:5", "w:7"]) == {"1.2.3.4:5": "", **found}
