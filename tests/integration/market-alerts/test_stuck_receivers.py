"""Receivers that never finish: an attempt ends all the same, and is counted as what it was.

They drip bytes for longer than a test may take, and faster than any limit per read would notice.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
from sample_alert import ALERT
from waiting import ENDS_SECONDS, wait_until

from market_alerts.settings import DeliverySettings
from market_alerts.targets import TemporaryFailure, make_sender

Talk = Callable[[socket.socket], None]
_DRIP_SECONDS = 2 * ENDS_SECONDS
_FLOOD_BYTES = 500 * 2**20
_OK = b"HTTP/1.1 200 OK\r\n"
_TLS_RECORD = b"\x16\x03\x03\x3f\xff"


class Receiver:
    """A server whose connections do what `talk` does; `gone` counts those that the other side has ended."""

    def __init__(self) -> None:
        self.port, self.sent, self.gone = 0, 0, 0
        self.talk: Talk = drip

    def flood(self, connection: socket.socket) -> None:
        """Send much, and count what was taken."""
        while self.sent < _FLOOD_BYTES:
            self.sent += connection.send(bytes(2**20))

    def webhook(self, scheme: str = "http", seconds: float = 1) -> DeliverySettings:
        return DeliverySettings(webhook_url=f"{scheme}://127.0.0.1:{self.port}/", timeout_seconds=seconds)

    def mail(self, security: str = "none", seconds: float = 1) -> DeliverySettings:
        return DeliverySettings(
            smtp_host="127.0.0.1",
            smtp_port=self.port,
            smtp_security=security,
            email_from="alerts@ticklake.example",
            email_to="a@desk.example",
            timeout_seconds=seconds,
        )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                made.talk(self.request)
                return
            made.gone += 1

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.port = server.server_address[1]
        yield made
        server.shutdown()


def drip(connection: socket.socket, byte: bytes = b"x") -> None:
    """Send a byte now and then."""
    end = time.monotonic() + _DRIP_SECONDS
    while time.monotonic() < end:
        connection.sendall(byte)
        time.sleep(0.2)


def http(answer: bytes, then: Talk) -> Talk:
    """Begins an answer with `answer`."""

    def talk(connection: socket.socket) -> None:
        connection.recv(2**16)
        connection.sendall(answer)
        then(connection)

    return talk


def smtp(*replies: str, then: Talk) -> Talk:
    """Gives these replies to the connection and to each command, the mail being one."""

    def talk(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        for number, reply in enumerate(replies):
            if number:
                line = lines.readline()
                while replies[number - 1].startswith("354") and line not in (b".\r\n", b""):
                    line = lines.readline()
            connection.sendall(f"{reply}\r\n".encode())
        then(connection)

    return talk


def seconds_until_given_up(target: Any, settings: DeliverySettings) -> float:
    send, started = make_sender(target, settings), time.monotonic()
    with pytest.raises(TemporaryFailure) as caught:
        send(ALERT)
    assert str(caught.value) == "TimeoutError"
    return time.monotonic() - started


def continue_for_ever(connection: socket.socket) -> None:
    drip(connection, b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize(
    "talk",
    [
        http(b"", drip),
        http(_OK + b"X: ", drip),
        http(_OK, lambda connection: drip(connection, b"X: 1\r\n")),
        http(b"", continue_for_ever),
    ],
    ids=["status", "header", "headers", "informational"],
)
def test_a_webhook_that_drips(receiver: Receiver, talk: Talk) -> None:
    receiver.talk = talk
    assert seconds_until_given_up("webhook", receiver.webhook()) < ENDS_SECONDS
    wait_until(lambda: receiver.gone)


@pytest.mark.parametrize("target", ["webhook", "slack"])
def test_a_body_is_not_waited_for(receiver: Receiver, target: Any) -> None:
    receiver.talk = http(_OK + b"Content-Length: 1000\r\n\r\n", drip)
    settings, started = receiver.webhook(seconds=30), time.monotonic()
    make_sender(target, settings.model_copy(update={"slack_webhook": settings.webhook_url}))(ALERT)
    assert time.monotonic() - started < ENDS_SECONDS
    wait_until(lambda: receiver.gone)


@pytest.mark.parametrize("headers", [b"Transfer-Encoding: chunked\r\n\r\n20000000\r\n", b"\r\n"])
def test_a_huge_body_is_not_read(receiver: Receiver, headers: bytes) -> None:
    receiver.talk = http(_OK + headers, receiver.flood)
    make_sender("webhook", receiver.webhook(seconds=30))(ALERT)
    wait_until(lambda: receiver.gone)
    assert receiver.sent < _FLOOD_BYTES / 2


_DIALOGUE = ("220 hello", "250 mail", "250 from", "250 to", "354 go on", "250 taken")


@pytest.mark.parametrize("replies", range(6))
def test_a_mail_server_that_drips(receiver: Receiver, replies: int) -> None:
    receiver.talk = smtp(*_DIALOGUE[:replies], then=drip)
    assert seconds_until_given_up("email", receiver.mail()) < ENDS_SECONDS
    wait_until(lambda: receiver.gone)


def test_a_mail_server_whose_replies_have_no_last_line(receiver: Receiver) -> None:
    receiver.talk = smtp("220 hello", then=lambda connection: drip(connection, b"250-more\r\n"))
    assert seconds_until_given_up("email", receiver.mail()) < ENDS_SECONDS


@pytest.mark.parametrize("then", [drip, lambda connection: connection.sendall(b"500 no\r\n")], ids=["drip", "500"])
def test_mail_that_was_accepted_is_delivered_whatever_is_said_to_quit(receiver: Receiver, then: Talk) -> None:
    receiver.talk, started = smtp(*_DIALOGUE, then=then), time.monotonic()
    make_sender("email", receiver.mail(seconds=5))(ALERT)
    assert time.monotonic() - started < ENDS_SECONDS


def test_tls_that_drips(receiver: Receiver) -> None:
    receiver.talk = lambda connection: connection.sendall(_TLS_RECORD) or drip(connection)
    assert seconds_until_given_up("webhook", receiver.webhook("https")) < ENDS_SECONDS
    assert seconds_until_given_up("email", receiver.mail("tls")) < ENDS_SECONDS
    receiver.talk = smtp("220 hello", "250-mail\r\n250 STARTTLS", "220 go", then=receiver.talk)
    assert seconds_until_given_up("email", receiver.mail("starttls")) < ENDS_SECONDS
    wait_until(lambda: receiver.gone == 3)


@pytest.mark.parametrize("target", ["webhook", "email"])
def test_a_name_that_is_never_resolved(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    test_is_over, before = threading.Event(), set(threading.enumerate())

    def find(*_: Any, **__: Any) -> list[Any]:
        test_is_over.wait(_DRIP_SECONDS)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", find)
    mail = {"smtp_host": "mail.example", "email_from": "a@b.example", "email_to": "c@d.example"}
    settings = DeliverySettings(webhook_url="http://hook.example", timeout_seconds=1, **mail)
    assert seconds_until_given_up(target, settings) < ENDS_SECONDS
    # The threads that still ask for the name do not keep the process from ending.
    assert not [each for each in threading.enumerate() if not each.daemon and each not in before]
    test_is_over.set()
