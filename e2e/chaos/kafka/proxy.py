"""A way between two processes that can be made deaf, slow or closed; a thread of its own, any number of connections."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import threading

_CHUNK_BYTES = 1 << 16


class Mood(enum.Enum):
    PASSES = "passes"
    DEAF = "deaf"
    """Connections stay open and carry nothing: what a firewall that drops packets does."""
    SLOW = "slow"
    """Each piece takes half a second."""
    CLOSED = "closed"
    """Connections are cut, and new ones too."""


class Proxy:
    """From `port` on 127.0.0.1 to `target` there. Use as a context."""

    def __init__(self, port: int) -> None:
        self.port, self.target = port, 0
        self.mood = Mood.PASSES
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            onward, back = await asyncio.open_connection("127.0.0.1", self.target)
            ways = [asyncio.create_task(self._carry(reader, back)), asyncio.create_task(self._carry(onward, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            back.close()
        writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await self._next(reader):
                if self.mood is Mood.SLOW:
                    await asyncio.sleep(0.5)
                while self.mood is Mood.DEAF:  # noqa: ASYNC110 - another thread changes it
                    await asyncio.sleep(0.05)
                writer.write(piece)
                await writer.drain()

    async def _next(self, reader: asyncio.StreamReader) -> bytes:
        """The next piece; nothing when the connection has ended, or is to."""
        waiting = asyncio.ensure_future(reader.read(_CHUNK_BYTES))
        try:
            while self.mood is not Mood.CLOSED:
                if (await asyncio.wait({waiting}, timeout=0.1))[0]:
                    return waiting.result()
            return b""
        finally:
            waiting.cancel()
