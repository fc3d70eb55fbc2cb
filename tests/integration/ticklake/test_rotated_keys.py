"""Each long-running service while its keys are changed: it ends with a clear line, and a new start has the new ones."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from keyed_stores import KeyedStore, MinioUser
from pydantic import SecretStr
from running_service import RunningService
from secured_servers import SecuredBroker
from waiting import wait_until

from ticklake.kafka import ConfirmedProducer, topic_id
from ticklake.ledger import verify_chain
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, LiveSettings

Start = Callable[..., AbstractContextManager[RunningService]]

SOON = {"CREDENTIALS_WAIT_SECONDS": "4", "CREDENTIALS_REJECTED_SECONDS": "3"}
STORE_LINE = "check TICKLAKE_STORE_ACCESS_KEY and TICKLAKE_STORE_SECRET_KEY"
KAFKA_LINE = "check TICKLAKE_KAFKA_USERNAME and TICKLAKE_KAFKA_PASSWORD"


def ends_rejected(service: RunningService, name: str, line: str, seconds: int) -> None:
    """It reports why it is not ready, and then ends with one line that says so."""
    service.wait_rejected(line)
    code, last = service.wait_end()
    assert code == 2
    assert last.startswith(f"{name}: ")
    assert last.endswith(f"{line} (rejected for {seconds} s; a new start reads their current values)")
    assert "Traceback" not in service.log.read_text()
    # Once for each time; a rotation before may have shown for a moment too.
    assert len(service.events("credentials rejected")) == len(service.events("credentials accepted again")) + 1


@pytest.mark.parametrize("name", ["dashboard", "batch-exporter"])
def test_a_rotated_store_key(
    keyed_store: KeyedStore, flow: LiveSettings, user: KafkaSettings, start: Start, name: str
) -> None:
    settings = keyed_store.start("first-key")
    flow_name = {"LIVE_NAMESPACE": flow.namespace}
    with start(name, settings, user, **SOON, **flow_name) as service:
        service.wait_ready()
        changed = keyed_store.start("second-key")
        ends_rejected(service, name, STORE_LINE, 3)
    with start(name, changed, user, **SOON, **flow_name) as service:
        service.wait_ready()
        assert service.stop() == 0


@pytest.mark.parametrize("name", ["dashboard", "stream-ticks", "market-alerts"])
def test_a_rotated_kafka_password(
    secured: SecuredBroker, user: KafkaSettings, flow: LiveSettings, keyed_store: KeyedStore, start: Start, name: str
) -> None:
    store, flow_name = keyed_store.start("first-key"), {"LIVE_NAMESPACE": flow.namespace}
    with start(name, store, user, **SOON, **flow_name) as service:
        service.wait_ready()
        secured.add_user(str(user.username), "second")  # the open connections stay
        ends_rejected(service, name, KAFKA_LINE, 3)
    changed = user.model_copy(update={"password": SecretStr("second")})
    with start(name, store, changed, **SOON, **flow_name) as service:
        service.wait_ready()
        assert service.stop() == 0


def test_the_archive_loses_nothing_to_rotations(
    secured: SecuredBroker, user: KafkaSettings, flow: LiveSettings, keyed_store: KeyedStore, start: Start
) -> None:
    admin = KafkaSettings(bootstrap_servers=secured.bootstrap_servers)
    live, sent = flow.names, 0

    def send() -> None:
        nonlocal sent
        with ConfirmedProducer(admin, "test") as producer:
            for number in range(200):
                producer.send(live.topic, key=b"AAPL", value=b"no tick, but a message", partition=number % 4)
        sent += 200

    def held() -> int:
        chains = verify_chain(lake, live, topic_id(admin, live.topic))
        return sum(entry.rows + entry.invalid_rows for chain in chains.values() for entry in chain)

    store, flow_name = keyed_store.start("first-key"), {"LIVE_NAMESPACE": flow.namespace}
    lake = ObjectStore(store)
    with start("archive-ticks", store, user, **SOON, **flow_name) as archive:
        archive.wait_ready()
        send()
        wait_until(lambda: held() == sent, archive.log.read_text)
        store = keyed_store.start("second-key")
        send()
        ends_rejected(archive, "archive-ticks", STORE_LINE, 3)
    lake = ObjectStore(store)
    with start("archive-ticks", store, user, **SOON, **flow_name) as archive:
        archive.wait_ready()
        wait_until(lambda: held() == sent, archive.log.read_text)
        secured.add_user(str(user.username), "second")
        send()
        ends_rejected(archive, "archive-ticks", KAFKA_LINE, 3)
    user = user.model_copy(update={"password": SecretStr("second")})
    with start("archive-ticks", store, user, **SOON, **flow_name) as archive:
        archive.wait_ready()
        wait_until(lambda: held() == sent, archive.log.read_text)
        assert archive.stop() == 0


@pytest.mark.parametrize("name", ["batch-exporter", "market-alerts"])
def test_keys_that_come_late_are_waited_for(
    secured: SecuredBroker, user: KafkaSettings, flow: LiveSettings, keyed_store: KeyedStore, start: Start, name: str
) -> None:
    late_store = keyed_store.start("first-key").model_copy(update={"secret_key": SecretStr("late-key")})
    late_user = user.model_copy(update={"username": f"late-{user.username}"})
    with start(name, late_store, late_user, LIVE_NAMESPACE=flow.namespace) as service:
        service.wait_rejected(STORE_LINE if name == "batch-exporter" else KAFKA_LINE)
        keyed_store.start("late-key")
        secured.add_user(str(late_user.username), "first")
        service.wait_ready()
        (line,) = service.events("credentials rejected")
        assert line["ends_after_seconds"] == 120
        assert service.stop() == 0


def test_a_key_that_is_never_accepted(keyed_store: KeyedStore, start: Start) -> None:
    settings = keyed_store.start("first-key")
    with start("batch-exporter", settings.model_copy(update={"secret_key": SecretStr("wrong")}), **SOON) as exporter:
        ends_rejected(exporter, "batch-exporter", STORE_LINE, 4)


def test_a_stop_while_it_waits_for_keys(keyed_store: KeyedStore, start: Start) -> None:
    settings = keyed_store.start("first-key")
    with start("batch-exporter", settings.model_copy(update={"secret_key": SecretStr("wrong")})) as exporter:
        exporter.wait_rejected(STORE_LINE)
        assert exporter.stop() == 0


def test_minio_users_that_are_made_again(minio_user: MinioUser, start: Start) -> None:
    settings = minio_user.set_key("first-key")
    minio_user.allow()
    with start("batch-exporter", settings, **SOON) as exporter:
        exporter.wait_ready()
        # A rotation that is done before the service ends: without rights for a while, and then as before.
        minio_user.remove()
        minio_user.set_key("first-key")
        looks = lambda: len(exporter.events("will look again"))  # noqa: E731
        before = looks()
        wait_until(lambda: looks() > before + 10, exporter.log.read_text)  # longer than the patience with a rejection
        assert exporter.readiness()[0] == 503
        minio_user.allow()
        exporter.wait_ready()
        minio_user.remove()
        ends_rejected(exporter, "batch-exporter", STORE_LINE, 3)
