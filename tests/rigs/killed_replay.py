"""One replay of a quarantined message, by a process that is killed before a chosen step of it."""

import os
import signal

from ticklake.objects import ObjectStore
from ticklake.quarantine_decisions import Decision
from ticklake.quarantine_replay import replay
from ticklake.settings import KafkaSettings, StoreSettings


def replay_and_die(step: str, decision: Decision, kafka: KafkaSettings, store: StoreSettings) -> None:
    """Do the replay and be killed before `step`."""

    def reached(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    replay(ObjectStore(store), kafka, decision, reached)
