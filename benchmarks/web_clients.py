"""Clients of the page for web_load.py: one that answers as the page does, and slow ones."""

import asyncio
import json
import struct

from websockets.asyncio.client import connect

from siamedge.runtime.errors import BackendError


async def slow_client(link: str, bytes_a_second: int) -> None:
    """Ask for the stream by hand and read it as slowly as that."""
    host, _, port = link.removeprefix("http://").strip("/").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    writer.write(
        f"GET /api/stream?client=slow{id(reader)} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    try:
        while True:
            await reader.read(bytes_a_second // 4)
            await asyncio.sleep(0.25)
    finally:
        writer.transport.abort()


async def quick_client(link: str, latencies: list[float]) -> None:
    """Take every snapshot that comes, as the page does."""
    async with connect(link.replace("http", "ws") + "api/stream?client=page", max_size=None) as socket:
        while True:
            message = await socket.recv()
            assert isinstance(message, bytes)
            state = json.loads(message[4 : 4 + struct.unpack(">I", message[:4])[0]])
            latencies.append(state["frame_latency_ms"])
            await socket.send("next")


async def with_clients(link: str, slow: int, seconds: float) -> list[float]:
    """Latency of the frames that one page sees, with so many slow clients beside it."""
    latencies: list[float] = []
    tasks = [asyncio.create_task(slow_client(link, 1024)) for _ in range(slow)]
    tasks.append(asyncio.create_task(quick_client(link, latencies)))
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if not isinstance(end, asyncio.CancelledError):
            raise BackendError(f"a client lost the page: {end!r}")
    return latencies[10:]
