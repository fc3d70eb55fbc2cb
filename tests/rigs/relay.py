"""A TCP relay on a fixed port whose connections a test can cut, delay, reset or have answered with an error."""

import contextlib
import socket
import struct
import threading
import time

LOOPBACK = "127.0.0.1"
_CHUNK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER by which closing a connection resets it."""


class Relay:
    """Passes connections on to `target` while it is open; starts cut where `open_` is false."""

    def __init__(self, target: tuple[str, int], *, open_: bool = True) -> None:
        with socket.create_server((LOOPBACK, 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self._target = target
        self.delay = 0.0
        """Seconds by which each piece of data is held up, each way."""
        self.response = b""
        """What every request on a new connection is answered with, in place of passing it on."""
        self.resets = False
        """Whether new connections are reset at once."""
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        if open_:
            self.open()

    def open(self) -> None:
        """Listen and pass on."""
        self._listener = socket.create_server((LOOPBACK, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuse new connections and end those that are open."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # A thread that waits in accept() keeps a closed listener alive until it is woken.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.end_connections()

    def end_connections(self) -> None:
        """End the connections that are open."""
        with self._lock:
            ending, self._open = self._open, set()
        for each in ending:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                return
            if self.resets:
                inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                inner.close()
                continue
            if self.response:
                threading.Thread(target=self._respond, args=(inner, self.response), daemon=True).start()
                continue
            try:
                outer = socket.create_connection(self._target)
            except OSError:
                inner.close()
                continue
            with self._lock:
                self._open |= {inner, outer}
            for source, sink in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                if self.delay:
                    time.sleep(self.delay)
                sink.sendall(chunk)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        with self._lock:
            self._open -= {source, sink}

    @staticmethod
    def _respond(connection: socket.socket, response: bytes) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            received = b""
            while b"\r\n\r\n" not in received and (chunk := connection.recv(_CHUNK)):
                received += chunk
            connection.sendall(response)
            connection.shutdown(socket.SHUT_WR)
            # A connection closed with data unread is reset, and the response lost with it.
            while connection.recv(_CHUNK):
                pass
