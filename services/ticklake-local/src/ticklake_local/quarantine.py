"""`ticklake quarantine`: what failed validation, searched and shown; mended, replayed or dropped."""

import getpass
import heapq
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ticklake import keys, quarantine, quarantine_decisions
from ticklake.errors import ConfigurationError
from ticklake.objects import ObjectStore
from ticklake.quarantine import QuarantinedMessage, printable
from ticklake.quarantine_decisions import Action, Decided, Decisions
from ticklake.quarantine_replay import replay
from ticklake.settings import KafkaSettings, LiveSettings, StoreSettings, load
from ticklake.topics import live_namespace
from ticklake_local import platform
from ticklake_local.data_folder import DEFAULT_FOLDER, DataFolder
from ticklake_local.report import plain_console

OWN_KAFKA = "TICKLAKE_KAFKA_BOOTSTRAP_SERVERS"
"""Set by a user who wants the quarantine of another platform than the data folder's."""

_HEX_ROW, _HEX_BYTES = 16, 1024


@dataclass(frozen=True)
class Search:
    """Which messages to list."""

    topic: str | None = None
    partition: int | None = None
    symbol: str | None = None
    run: str | None = None
    reason: str = ""
    """Part of the reason, in either case."""
    since: datetime | None = None
    limit: int = 50
    decided: bool = False
    """Also those that somebody has decided on."""
    as_json: bool = False

    @property
    def prefix(self) -> str:
        """Below which all of them are."""
        return keys.QUARANTINE if self.topic is None else keys.quarantined_messages_prefix(self.topic, self.partition)

    def finds(self, message: QuarantinedMessage) -> bool:
        """Whether the message is one of them, but for `decided`."""
        return (
            self.topic in (None, message.topic)
            and self.partition in (None, message.partition)
            and self.symbol in (None, message.about)
            and self.run in (None, message.run_id)
            and self.reason.lower() in message.reason.lower()
            and (self.since is None or (message.record_time is not None and message.record_time >= self.since))
        )


@dataclass(frozen=True)
class QuarantineOptions:
    """What `ticklake quarantine` was called with."""

    folder: Path
    cache: Path
    id: str = ""
    """Of the message, or the beginning of it."""
    by: str | None = None
    """Who decides; None for the user whose process this is."""


def show_list(options: QuarantineOptions, search: Search) -> None:
    """Print the newest messages that are searched for, and how many there are."""
    console = plain_console()
    with _lake(options) as store:
        decisions = Decisions(store).now()
        count = 0

        def found() -> Iterator[QuarantinedMessage]:
            nonlocal count
            for message in quarantine.messages_below(store, search.prefix):
                there = decisions.get(message.id)
                if search.finds(message) and (search.decided or there is None or there.open):
                    count += 1
                    yield message

        newest = heapq.nlargest(search.limit, found(), key=lambda message: (_at(message), message.origin))
    if search.as_json:
        for message in newest:
            print(json.dumps(_as_json(message, decisions.get(message.id))))
        return
    for message in newest:
        time = f"{_at(message):%Y-%m-%d %H:%M:%S}" if message.record_time else "-"
        console.print("  ".join(filter(None, (message.id, time, message.origin, message.about))))
        for line in _lines(message, decisions.get(message.id)):
            console.print(f"  {line}")
    if not count:
        console.print("Nothing in quarantine waits for a decision" if search == Search() else "Nothing is found")
        return
    if count > len(newest):
        console.print(f"the newest {len(newest):,} of {count:,}: --limit shows more")
    console.print(f"look, then decide:  {_command(options)} show ID, mend ID --value FILE, replay ID or drop ID")


def show(options: QuarantineOptions, *, raw: bool = False) -> None:
    """Print one message: its bytes, why it was rejected, where it came from, what was and what can be done.

    Args:
        raw: write its bytes to stdout and nothing else.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    if raw and sys.stdout.isatty():
        raise ConfigurationError("the bytes can be anything: write them to a file, as in … --raw > FILE")
    with _lake(options) as store:
        message = quarantine.find(store, options.id)
        there = quarantine_decisions.decided(store, message.id)
    if raw:
        sys.stdout.buffer.write(message.original)
        return
    console, original = plain_console(), message.original
    facts = {
        "id": message.id,
        "origin": message.origin,
        "at": message.record_time and f"{message.record_time:%Y-%m-%d %H:%M:%S} UTC",
        "stage": message.stage,
        "run": message.run_id,
        "symbol": message.symbol,
        "key": None if message.key is None else printable(message.key),
        "bytes": f"{len(original):,}",
    }
    for name, value in facts.items():
        if value is not None:
            console.print(f"{name:8}{value}")
    for line in _lines(message, there):
        console.print(line)
    for begin in range(0, min(len(original), _HEX_BYTES), _HEX_ROW):
        row = original[begin : begin + _HEX_ROW]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        console.print(f"  {begin:04x}  {row.hex(' '):{3 * _HEX_ROW}} {text}")
    if len(original) > _HEX_BYTES:
        console.print(f"  … {len(original) - _HEX_BYTES:,} more bytes: --raw > FILE writes all of them")
    for command in quarantine_decisions.commands(message, there):
        console.print(command)


def decide(options: QuarantineOptions, action: Action, *, value: Path | None = None, key: str | None = None) -> None:
    """Drop a message; or replay it, as it is or mended, or go on with a replay that was cut short.

    Args:
        value: the file with the mended bytes, `-` for stdin.
        key: the key that they are sent with; None for the message's.

    Raises:
        ConfigurationError: it would be rejected again, somebody decided otherwise, or the file cannot be read.
        StageError: store or broker does not answer; the same command goes on.
    """
    mended = None if value is None else _bytes(value)
    say = plain_console().print
    with _lake(options) as store:
        message = quarantine.find(store, options.id)
        by = options.by or getpass.getuser()
        tolerance = load(LiveSettings, namespace=live_namespace(message.topic or "") or "").future_tolerance
        found, made = quarantine_decisions.decide(
            store, message, action, by, tolerance, value=mended, key=None if key is None else key.encode()
        )
    if action == "drop" or (not made and not found.open):
        say(f"{message.id} {'is' if made else 'was'} {found.description()}{'' if made else ' already'}")
        return
    with _broker(options) as (store, kafka):
        done, sent = replay(store, kafka, found.decision)
    say(f"{message.id} is {found.decision.description()}: {'sent' if sent else 'was sent before'} to {done.place}")


def _bytes(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"--value {path} cannot be read: {error.strerror}") from error


def _at(message: QuarantinedMessage) -> datetime:
    return message.record_time or datetime.fromtimestamp(0, UTC)


def _lines(message: QuarantinedMessage, there: Decided | None) -> Iterator[str]:
    yield printable(message.reason.encode())
    if message.replay_of is not None:
        yield f"it is a replay of {message.replay_of}"
    if there is not None:
        yield there.description()


def _as_json(message: QuarantinedMessage, there: Decided | None) -> dict[str, Any]:
    decision = None if there is None else there.decision.model_dump(mode="json", exclude={"value_base64", "key_base64"})
    replayed = None if there is None or there.replayed is None else there.replayed.model_dump(mode="json")
    derived = {"id": message.id, "origin": message.origin, "about": message.about}
    return {**derived, **message.model_dump(mode="json"), "decision": decision, "replayed": replayed}


def _command(options: QuarantineOptions) -> str:
    place = "" if options.folder == DEFAULT_FOLDER else f" --data {options.folder}"
    return f".venv/bin/ticklake quarantine{place}"


@contextmanager
def _lake(options: QuarantineOptions) -> Iterator[ObjectStore]:
    """The store of the settings where a broker is set, else the data folder's, which runs for the time."""
    if os.environ.get(OWN_KAFKA):
        yield ObjectStore(load(StoreSettings))
        return
    with platform.with_store(DataFolder.at(options.folder), options.cache, _say) as here:
        yield ObjectStore(here.store)


@contextmanager
def _broker(options: QuarantineOptions) -> Iterator[tuple[ObjectStore, KafkaSettings]]:
    """Store and broker, as `_lake`."""
    if os.environ.get(OWN_KAFKA):
        yield ObjectStore(load(StoreSettings)), load(KafkaSettings)
        return
    with platform.with_broker(DataFolder.at(options.folder), options.cache, _say) as here:
        yield ObjectStore(here.store), here.kafka


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
