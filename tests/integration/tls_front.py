"""TLS in front of a test's Postgres, which is built without: the SSLRequest of its protocol, then bytes both ways."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import ssl
from collections.abc import AsyncIterator

CERTIFICATES = pathlib.Path(__file__).parent.parent / "certificates"
_REQUEST_BYTES = 8


@contextlib.asynccontextmanager
async def front(certificate: str, host: str, port: int, *, clients: str = "") -> AsyncIterator[int]:
    """The port where a client finds the server at `host` and `port` with this certificate; `clients`: the authority whose
    certificate a client must show."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / f"{certificate}.crt", CERTIFICATES / f"{certificate}.key")
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(CERTIFICATES / f"{clients}.crt")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(_REQUEST_BYTES)
        writer.write(b"S")
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.start_tls(context)
            there = await asyncio.open_connection(host, port)
            with contextlib.closing(there[1]):
                await asyncio.wait(
                    [asyncio.create_task(_pump(reader, there[1])), asyncio.create_task(_pump(there[0], writer))],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
