"""archive-ticks whose first consumer has a slow broker: metadata is late, and so is the answer to each join.

With the argument `unprepared` it joins before it knows the topic's partitions, so that the answer to its second join
gets lost in the client library.
"""

import sys
from typing import Any

from archive_ticks.service import Archive
from archive_ticks.settings import ArchiveSettings
from ticklake import group_consumer
from ticklake.kafka import make_consumer
from ticklake.objects import ObjectStore
from ticklake.service import service_main

LATE_SECONDS = {"MetadataRequest": 3.0, "SyncGroupRequest": 1.0}
"""The second is longer than one poll of the archive takes."""

consumers: list[Any] = []


def slow_consumer(*arguments: Any, **options: Any) -> Any:
    consumer = make_consumer(*arguments, **options)
    consumers.append(consumer)
    if len(consumers) == 1:
        _slow_down(consumer._manager)
    return consumer


def _slow_down(manager: Any) -> None:
    send = manager.send

    def send_slowly(request: Any, **options: Any) -> Any:
        answer = send(request, **options)

        async def late() -> Any:
            found = await answer
            await manager._net.sleep(LATE_SECONDS[type(request).__name__])
            return found

        return manager.call_soon(late) if type(request).__name__ in LATE_SECONDS else answer

    # The first metadata request takes the node as its second argument.
    manager.send = lambda request, node_id=None, **options: send_slowly(request, node_id=node_id, **options)


if __name__ == "__main__":
    group_consumer.make_consumer = slow_consumer
    if "unprepared" in sys.argv:
        group_consumer.GroupReader._know_partitions = lambda *_: None  # type: ignore[method-assign]
    service_main(
        "archive-ticks",
        ArchiveSettings,
        lambda settings, stop: Archive(settings, ObjectStore(settings.store)).run(stop),
        [],
    )
