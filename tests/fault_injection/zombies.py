"""Writers that stop in the middle of a write, wake up after another has taken over, and must overwrite nothing."""

import os
import signal
from dataclasses import dataclass

from archive_ticks.offset_ranges import Encoded, RangeBuilder, encode
from archive_ticks.range_writer import put_range
from archive_ticks.settings import RollSettings
from ticklake.ledger import read_range
from ticklake.objects import ObjectStore
from ticklake.settings import StoreSettings
from ticklake.topics import live_names

_LIVE = live_names("zombies")
_TIME = 1_769_785_200_000  # 2026-01-30T15:00:00Z


@dataclass(frozen=True)
class _Message:
    offset: int
    timestamp: int
    key: bytes
    value: bytes


def overwritten(settings: StoreSettings, rounds: int, *, conditional: bool) -> int:
    """How many of `rounds` writers that were stopped right before their write overwrote their successor's object.

    Each is a process of its own; to be called while this one has one thread only, as it is forked.

    Args:
        conditional: whether they write as the archive does; otherwise as if the store knew no conditions, which is the
            control that this can fail.
    """
    # The sleepers' is never used here: a fork would share its connections.
    store, sleepers_store = ObjectStore(settings), ObjectStore(settings)
    count, topic_id = 0, f"{os.getpid():08x}-{int(conditional):04x}-4000-8000-000000000000"
    for partition in range(rounds):
        # The two read to different places, so that their ranges of the same first offset differ.
        process = os.fork()
        if process == 0:
            _sleeper(sleepers_store, _range(topic_id, partition, 10), conditional)
        os.waitpid(process, os.WUNTRACED)
        successor = _range(topic_id, partition, 6)
        assert put_range(store, successor).ours
        os.kill(process, signal.SIGCONT)
        _, status = os.waitpid(process, 0)
        assert os.waitstatus_to_exitcode(status) == 0, "the stopped writer failed"
        count += read_range(store, successor.key) != successor.entry
    return count


def _sleeper(store: ObjectStore, encoded: Encoded, conditional: bool) -> None:
    code = 1
    try:
        os.kill(os.getpid(), signal.SIGSTOP)
        if conditional:
            put_range(store, encoded)
        else:
            store.put(encoded.key, encoded.parquet, metadata=encoded.entry.user_metadata())
        code = 0
    finally:
        os._exit(code)


def _range(topic_id: str, partition: int, count: int) -> Encoded:
    value = (
        b'{"schema_version":1,"symbol":"AAPL","price":1.5,"volume":1,"event_time":"2026-01-30T15:00:00.000Z",'
        b'"sequence":0,"producer_run":"zombies","source":"simulated"}'
    )
    builder = RangeBuilder(partition, 0, RollSettings())
    builder.add([_Message(offset, _TIME, b"AAPL", value) for offset in range(count)])
    return encode(builder.seal()[0], _LIVE, topic_id)
