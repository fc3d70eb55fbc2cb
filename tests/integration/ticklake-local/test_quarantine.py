"""`ticklake quarantine` as a user calls it: on a running platform, and on a data folder with nothing running."""

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ticklake import kafka
from ticklake.objects import ObjectStore
from ticklake.quarantine import QuarantinedMessage, put, quarantined
from ticklake.settings import KafkaSettings, LiveSettings
from ticklake.topics import BATCH_TOPIC, LIVE_TOPIC
from ticklake_local.data_folder import DataFolder
from ticklake_local.environment import cache_folder
from ticklake_local.main import main
from ticklake_local.platform import Tools, with_store

NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)
GOOD = {
    "symbol": "AAPL",
    "price": 100.5,
    "volume": 1,
    "event_time": "2026-01-30T15:00:00Z",
    "sequence": 1,
    "producer_run": "run-1",
    "source": "simulated",
}
Command = Callable[..., "Done"]


def rejected(topic: str, offset: int, value: bytes, reason: str, **more: Any) -> QuarantinedMessage:
    return quarantined(
        "archive-ticks",
        reason,
        value,
        topic=topic,
        partition=offset % 2,
        offset=offset,
        record_time=NOON + timedelta(minutes=offset),
        **more,
    )


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    stdout: str
    stderr: str


@pytest.fixture
def ticklake(
    stage_env: Callable[..., dict[str, str]],
    live: LiveSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Runs `ticklake quarantine` on the platform of the settings, in this process."""
    for name, value in stage_env().items():
        monkeypatch.setenv(name, value)

    def run(*words: str, given: str = "", code: int = 0) -> Done:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        with pytest.raises(SystemExit) as ended:
            main(["quarantine", *words])
        done = Done(*capsys.readouterr())
        assert ended.value.code == code, done.stderr
        assert len(done.stderr.splitlines()) == (code != 0), done.stderr
        return done

    return run


def ids(done: Done) -> list[str]:
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


def test_search_look_and_drop(ticklake: Command, store: ObjectStore, live: LiveSettings) -> None:
    topic = live.names.topic
    poison = rejected(topic, 1, b'{"price": -1}\x1b[31m', "price: must be positive", key=b"AAPL")
    other = rejected(topic, 2, b"", "no value", key=b"MSFT", replay_of="0123456789abcdef")
    foreign = rejected(BATCH_TOPIC, 3, b"{", "no JSON", run_id="night")
    row = quarantined(
        "fetch-historical", "no session", b"{}", run_id="night", symbol="IBM", position=3, record_time=NOON
    )
    put(store, [poison, other, foreign, row])
    put(store, [poison])
    assert ids(ticklake("list", "--json")) == [foreign.id, other.id, poison.id, row.id]
    for words, found in (
        (("--topic", topic), [other, poison]),
        (("--topic", topic, "--partition", "1"), [poison]),
        (("--symbol", "msft"), [other]),
        (("--symbol", "IBM"), [row]),
        (("--run", "night"), [foreign, row]),
        (("--reason", "POSITIVE"), [poison]),
        (("--since", "2026-01-30T12:02:00+00:00"), [foreign, other]),
        (("--since", "2026-01-31"), []),
        (("--limit", "1"), [foreign]),
    ):
        assert ids(ticklake("list", "--json", *words)) == [message.id for message in found], words
    listed = ticklake("list", "--limit", "2").stdout
    assert (
        f"{other.id}  2026-01-30 12:02:00  {topic}/0/2  MSFT\n  no value\n  it is a replay of 0123456789abcdef\n"
        in listed
    )
    assert "the newest 2 of 4: --limit shows more" in listed

    shown = ticklake("show", poison.id[:10]).stdout
    assert "7b 22 70 72 69 63 65 22 3a 20 2d 31 7d 1b 5b 33" in shown
    assert '{"price": -1}.[3' in shown
    assert "\x1b" not in shown
    assert f"ticklake quarantine mend {poison.id} --value FILE" in shown
    assert ticklake("show", poison.id, "--raw").stdout == '{"price": -1}\x1b[31m'
    assert "the next run asks for it again" in ticklake("show", row.id).stdout

    for message, reason in (
        (row, "which never reached Kafka: the next run asks for it again"),
        (foreign, "a run reads from stock_market_batch only what its own fetch has sent"),
        (other, "it would be rejected again: no value"),
    ):
        assert reason in ticklake("replay", message.id, code=2).stderr
    assert f"{row.id} is dropped by kim" in ticklake("drop", row.id, "--by", "kim").stdout
    assert "was dropped by kim" in ticklake("drop", row.id, "--by", "lee").stdout
    assert "that cannot be changed" in ticklake("replay", row.id, code=2).stderr
    assert ids(ticklake("list", "--json")) == [foreign.id, other.id, poison.id]
    assert ids(ticklake("list", "--json", "--all")) == [foreign.id, other.id, poison.id, row.id]
    assert "dropped by kim" in ticklake("list", "--all").stdout
    assert "begins with 'ffffffffffffffff'" in ticklake("show", "f" * 16, code=2).stderr
    for wrong in (("show", "xyz"), ("list", "--since", "yesterday"), ("list", "--limit", "-1")):
        assert ticklake(*wrong, code=2).stderr


def test_mend_from_a_file_and_from_stdin(
    ticklake: Command, store: ObjectStore, kafka_settings: KafkaSettings, live: LiveSettings, tmp_path: Path
) -> None:
    topic = live.names.topic
    first, second = (rejected(topic, offset, b"{", "no JSON", key=b"odd") for offset in (1, 2))
    put(store, [first, second])
    good = json.dumps(GOOD)
    assert "key: should be the symbol AAPL" in ticklake("mend", first.id, "--value", "-", given=good, code=2).stderr
    assert "cannot be read" in ticklake("mend", first.id, "--value", str(tmp_path / "none"), code=2).stderr
    assert sum(kafka.end_offsets(kafka_settings, topic).values()) == 0
    (tmp_path / "good.json").write_text(good + "\n")
    words = ("mend", first.id, "--value", str(tmp_path / "good.json"), "--key", "AAPL", "--by", "kim")
    assert "mended and replayed by kim" in (done := ticklake(*words).stdout)
    assert f": sent to {topic} partition" in done
    assert "already" in ticklake(*words).stdout
    assert "already" in ticklake("replay", first.id).stdout
    assert ": sent to" in ticklake("mend", second.id, "--value", "-", "--key", "AAPL", given=good).stdout
    # Each a message and the mark of its transaction.
    assert sum(kafka.end_offsets(kafka_settings, topic).values()) == 4
    assert ids(ticklake("list", "--json")) == []
    assert ticklake("list").stdout == "Nothing in quarantine waits for a decision\n"


def test_on_a_data_folder_what_is_needed_runs_for_the_time(programs: Path, local_tools: Tools, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    message = rejected(LIVE_TOPIC, 1, json.dumps(GOOD).encode(), "was too strict", key=b"AAPL")
    with with_store(DataFolder.at(folder), cache_folder(), print) as here:
        put(ObjectStore(here.store), [message])

    def run(*words: str) -> str:
        command = [programs / "ticklake", "quarantine", *words, "--data", folder]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout

    assert f"quarantine --data {folder} show ID" in run("list")
    assert f": sent to {LIVE_TOPIC} partition" in run("replay", message.id)
    assert "already" in run("replay", message.id)
