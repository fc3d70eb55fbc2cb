"""A TCP relay on a fixed port that a test can cut and restore: a part goes away and comes back at the same address."""

import contextlib
import socket
import threading

LOOPBACK = "127.0.0.1"
_CHUNK = 64 * 1024


class Relay:
    """Passes connections on to `target` while it is open; starts cut where `open_` is false."""

    def __init__(self, target: tuple[str, int], *, open_: bool = True) -> None:
        with socket.create_server((LOOPBACK, 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self._target = target
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
                outer = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                self._open |= {inner, outer}
            for source, sink in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                sink.sendall(chunk)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        with self._lock:
            self._open -= {source, sink}
