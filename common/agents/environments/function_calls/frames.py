"""Frames of JSON on a socket: its length in bytes, then the text."""

import asyncio
import json
import socket
import struct
from io import BufferedRWPair
from typing import Any

Frame = dict[str, Any]
LENGTH = struct.Struct("<I")
MOST_BYTES = 64 * 2**20
"""The longest frame that is awaited; only the copy of a state may come near."""


class Ended(Exception):
    """The other side ended, or wrote what is no frame, before a whole one came."""


def send_frame(stream: BufferedRWPair, frame: Frame) -> None:
    """Write one frame. Raises OSError where nobody listens any more."""
    stream.write(_packed(frame))
    stream.flush()


def receive_frame(stream: BufferedRWPair) -> Frame | None:
    """The next frame; None where the other side is gone."""
    header = stream.read(LENGTH.size)
    return json.loads(stream.read(*LENGTH.unpack(header))) if len(header) == LENGTH.size else None


async def write_frame(connection: socket.socket, frame: Frame) -> None:
    """Write one frame to a socket that doesn't block. Raises OSError where nobody listens any more."""
    await asyncio.get_running_loop().sock_sendall(connection, _packed(frame))


async def read_frame(connection: socket.socket) -> Frame:
    """The next frame of a socket that doesn't block. Raises Ended."""
    (length,) = LENGTH.unpack(await _read(connection, LENGTH.size))
    if length > MOST_BYTES:
        raise Ended(f"got a frame of {length} bytes, expected {MOST_BYTES} at most")
    frame: Frame = json.loads(await _read(connection, length))
    return frame


def _packed(frame: Frame) -> bytes:
    data = json.dumps(frame).encode()
    return LENGTH.pack(len(data)) + data


async def _read(connection: socket.socket, length: int) -> bytes:
    loop, data = asyncio.get_running_loop(), bytearray()
    while len(data) < length:
        try:
            part = await loop.sock_recv(connection, min(length - len(data), 2**18))
        except ConnectionError:
            part = b""
        if not part:
            raise Ended("its process ended")
        data += part
    return bytes(data)
