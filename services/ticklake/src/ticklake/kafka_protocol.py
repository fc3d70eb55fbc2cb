"""Kafka's protocol by hand, for what the client library has no call or no clear answer."""

import socket
import struct

_MOST_BYTES = 1024 * 1024
"""An answer that claims to be longer is no Kafka broker's."""


def request(connection: socket.socket, key: int, version: int, body: bytes) -> bytes:
    """Send one request (header version 1, no client id) and return the answer's body.

    Args:
        key: of https://kafka.apache.org/protocol#protocol_api_keys.

    Raises:
        ConnectionError: the broker closed the connection, or what answers is no Kafka broker.
    """
    message = struct.pack(">hhih", key, version, 1, -1) + body
    connection.sendall(struct.pack(">i", len(message)) + message)
    length = struct.unpack(">i", _read(connection, 4))[0]
    if not 4 <= length <= _MOST_BYTES:
        raise ConnectionError("what answers is no Kafka broker")
    return _read(connection, length)[4:]  # without the correlation id


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("the broker closed the connection")
        data += piece
    return data
