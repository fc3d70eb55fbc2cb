"""The real dashboard over a lake that the real batch programs filled, and what its clients need."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dashboard_rig import Dashboard, FilledLake, TickSender, dashboard_running, fill_lake

from ticklake.settings import KafkaSettings, LiveSettings
from ticklake_local.platform import Platform


@pytest.fixture(scope="session")
def filled_lake(local_platform: Platform, programs: Path) -> FilledLake:
    """One batch through every stage."""
    return fill_lake(local_platform, programs)


@pytest.fixture
def serve(
    programs: Path, stage_env: Callable[..., dict[str, str]], live: LiveSettings, tmp_path: Path
) -> Iterator[Callable[..., Dashboard]]:
    """Starts a server of this test's own live flow; keywords are variables without TICKLAKE_."""
    with ExitStack() as stack:
        yield lambda **more: stack.enter_context(dashboard_running(programs, stage_env(), tmp_path, **more))


@pytest.fixture
def ticks(kafka_settings: KafkaSettings, live: LiveSettings) -> TickSender:
    """Sends ticks into this test's flow."""
    return TickSender(kafka_settings, live.names.topic)
