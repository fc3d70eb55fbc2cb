"""The kinds of faults, and the seeded plan of a storm."""

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from tests.fault_injection.flow import Flow

from ticklake_local.live_services import MARKET_ALERTS, STREAM_ANALYTICS, STREAM_TICKS

Inject = Callable[[Flow, random.Random], AbstractContextManager[None]]
"""Has the fault for as long as the block lasts."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    name: str
    inject: Inject
    seconds: tuple[float, float]
    """Least and greatest time that it lasts."""
    needs_limited_store: bool = False


@dataclass(frozen=True)
class Planned:
    """One fault of a plan."""

    kind: Kind
    seconds: float
    seed: int


def plan(kinds: list[Kind], count: int, seed: int) -> list[Planned]:
    """`count` faults, each kind as often as the others, in an order that `seed` decides."""
    chance = random.Random(seed)
    found: list[Kind] = []
    while len(found) < count:
        found += chance.sample(kinds, len(kinds))
    return [Planned(kind, chance.uniform(*kind.seconds), chance.getrandbits(32)) for kind in found[:count]]


def _one_of(*programs: str) -> Callable[[random.Random], str]:
    return lambda chance: chance.choice(programs)


def _killed(choose: Callable[[random.Random], str]) -> Inject:
    @contextmanager
    def inject(flow: Flow, chance: random.Random) -> Iterator[None]:
        flow.programs[choose(chance)].kill()
        yield

    return inject


def _stopped(choose: Callable[[random.Random], str]) -> Inject:
    @contextmanager
    def inject(flow: Flow, chance: random.Random) -> Iterator[None]:
        service = flow.programs[choose(chance)].service
        assert service is not None
        assert service.child is not None
        os.killpg(service.child.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(service.child.pid, signal.SIGCONT)

    return inject


def _server_killed(name: str) -> Inject:
    @contextmanager
    def inject(flow: Flow, _: random.Random) -> Iterator[None]:
        part = flow.parts[name]
        assert part.child is not None
        os.killpg(part.child.pid, signal.SIGKILL)
        part.child.stop()
        yield
        part.start()
        part.wait_ready()

    return inject


def _cut(name: str) -> Inject:
    @contextmanager
    def inject(flow: Flow, _: random.Random) -> Iterator[None]:
        flow.relays[name].cut()
        try:
            yield
        finally:
            flow.relays[name].open()

    return inject


def _slow(name: str, least: float, most: float) -> Inject:
    @contextmanager
    def inject(flow: Flow, chance: random.Random) -> Iterator[None]:
        relay = flow.relays[name]
        relay.delay = chance.uniform(least, most)
        try:
            yield
        finally:
            relay.delay = 0.0

    return inject


def _new_connections(**mode: object) -> Inject:
    """The store's relay in another mode, also for those who have a connection: theirs are ended."""

    @contextmanager
    def inject(flow: Flow, _: random.Random) -> Iterator[None]:
        relay = flow.relays["store"]
        usual = {name: getattr(relay, name) for name in mode}
        for name, value in mode.items():
            setattr(relay, name, value)
        relay.end_connections()
        try:
            yield
        finally:
            for name, value in usual.items():
                setattr(relay, name, value)

    return inject


def _answers(status: int, code: str) -> Inject:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected</Message></Error>'
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return _new_connections(response=f"{head}Connection: close\r\n\r\n{body}".encode())


@contextmanager
def _disk_full(flow: Flow, _: random.Random) -> Iterator[None]:
    folder = flow.platform.folder.store
    filler = folder / "filler"
    # Until there is none left: the store goes on taking some meanwhile.
    with filler.open("wb") as file, suppress(OSError):
        while left := shutil.disk_usage(folder).free:
            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), left)
    try:
        yield
    finally:
        filler.unlink()


KINDS = (
    Kind("SIGKILL stream-ticks", _killed(_one_of(STREAM_TICKS)), (0, 0)),
    Kind("SIGKILL archive-ticks", _killed(_one_of("archive-1", "archive-2")), (0, 0)),
    Kind("SIGKILL market-alerts", _killed(_one_of(MARKET_ALERTS)), (0, 0)),
    Kind("SIGKILL stream-analytics", _killed(_one_of(STREAM_ANALYTICS)), (0, 0)),
    Kind("SIGSTOP stream-ticks", _stopped(_one_of(STREAM_TICKS)), (5, 20)),
    # Longer than the group waits for a heartbeat, and some longer than a request may take.
    Kind("SIGSTOP archive-ticks", _stopped(_one_of("archive-1", "archive-2")), (8, 40)),
    Kind("SIGSTOP market-alerts", _stopped(_one_of(MARKET_ALERTS)), (8, 40)),
    Kind("SIGSTOP stream-analytics", _stopped(_one_of(STREAM_ANALYTICS)), (5, 40)),
    Kind("broker killed", _server_killed("broker"), (0, 8)),
    Kind("broker cut off", _cut("broker"), (1, 20)),
    Kind("broker slow", _slow("broker", 0.05, 0.5), (3, 10)),
    Kind("store killed", _server_killed("store"), (0, 8)),
    Kind("store cut off", _cut("store"), (1, 20)),
    Kind("store slow", _slow("store", 0.2, 2), (3, 10)),
    Kind("store resets", _new_connections(resets=True), (1, 10)),
    Kind("store answers 500", _answers(500, "InternalError"), (1, 10)),
    Kind("store answers 503", _answers(503, "SlowDown"), (1, 10)),
    Kind("store answers 429", _answers(429, "TooManyRequests"), (1, 10)),
    Kind("store's disk full", _disk_full, (2, 10), needs_limited_store=True),
    Kind("catalog killed", _server_killed("catalog"), (0, 8)),
    Kind("catalog cut off", _cut("catalog"), (1, 20)),
)
