"""A record as bytes on the wire: headers whose names no Python producer can send."""

import socket
import struct
import time
from typing import Final

_NOT_YET: Final = (3, 5, 6)


def send(bootstrap: str, topic: str, value: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Send a record without a key to partition 0, and check that the broker took it."""
    request = b"".join(
        [
            struct.pack(">hhih", 0, 3, 7, -1),  # Produce, version 3, correlation id, no client
            struct.pack(">hhi", -1, -1, 10_000),  # no transaction, all replicas, 10 s
            struct.pack(">ih", 1, len(topic)) + topic.encode() + struct.pack(">ii", 1, 0),
            _sized(_batch(value, headers)),
        ]
    )
    host, _, port = bootstrap.split(",")[0].rpartition(":")
    deadline = time.monotonic() + 10
    while True:
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(_sized(request))
            answer = connection.makefile("rb").read(4 + 4 + 4 + 2 + len(topic) + 4 + 4 + 2)
        (error,) = struct.unpack(">h", answer[-2:])
        if error == 0:
            return
        # A topic that was made a moment ago has no leader yet.
        assert error in _NOT_YET, error
        assert time.monotonic() < deadline, error
        time.sleep(0.1)


def _batch(value: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    record = b"".join(
        [
            bytes([0]) + _varint(0) + _varint(0) + _varint(-1) + _varsized(value),
            _varint(len(headers)),
            *(_varsized(name) + _varsized(each) for name, each in headers),
        ]
    )
    now = int(time.time() * 1000)
    body = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + _varsized(record)
    checked = struct.pack(">ib", -1, 2) + struct.pack(">I", _crc32c(body)) + body
    return struct.pack(">q", 0) + _sized(checked)


def _sized(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _varsized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    zigzag, out = (number << 1) ^ (number >> 63), bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
