"""How Kafka and the store answer wrong credentials, and right ones that may not do this."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyed_stores import KeyedStore, MinioUser
from pydantic import SecretStr
from secured_servers import SecuredBroker

from ticklake.errors import ConfigurationError, CredentialsError, DeniedError, StageError
from ticklake.kafka_authentication import check_sign_in
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_kafka_reports_wrong_credentials_each_time(user: KafkaSettings) -> None:
    check_sign_in(user)
    for change in ({"password": SecretStr("second")}, {"username": "nobody"}):
        wrong = user.model_copy(update=change)
        for _ in range(10):  # the client library sees it but now and then
            with pytest.raises(CredentialsError, match=f"rejects the credentials of user {wrong.username}: check"):
                check_sign_in(wrong)


def test_kafka_takes_the_new_password_at_once(secured: SecuredBroker, user: KafkaSettings) -> None:
    secured.add_user(str(user.username), "second")
    with pytest.raises(CredentialsError):
        check_sign_in(user)
    check_sign_in(user.model_copy(update={"password": SecretStr("second")}))


def test_kafka_under_tls(secured: SecuredBroker, user: KafkaSettings, certificate: Path) -> None:
    address = {"bootstrap_servers": f"127.0.0.1:{secured.tls_port}", "security_protocol": "SASL_SSL"}
    encrypted = user.model_copy(update={**address, "ca_file": certificate})
    check_sign_in(encrypted)
    with pytest.raises(CredentialsError):
        check_sign_in(encrypted.model_copy(update={"password": SecretStr("second")}))
    with pytest.raises(StageError, match="certificate verify failed"):
        check_sign_in(encrypted.model_copy(update={"ca_file": None}))


def test_no_other_trouble_with_kafka_is_a_rejection(user: KafkaSettings, silent: str) -> None:
    hasty = user.model_copy(update={"timeout_seconds": 1.0})
    for address in ("127.0.0.1:1", silent, "127.0.0.1", "nowhere.invalid:9092"):
        with pytest.raises(StageError, match="does not answer a sign-in") as caught:
            check_sign_in(hasty.model_copy(update={"bootstrap_servers": address}))
        assert not isinstance(caught.value, CredentialsError)
    # Of several servers the first that answers counts.
    check_sign_in(hasty.model_copy(update={"bootstrap_servers": f"{silent},{user.bootstrap_servers}"}))
    with pytest.raises(ConfigurationError, match="does not offer TICKLAKE_KAFKA_SASL_MECHANISM PLAIN") as caught:
        check_sign_in(user.model_copy(update={"sasl_mechanism": "PLAIN"}))
    assert not isinstance(caught.value, CredentialsError)


def test_the_store_reports_wrong_keys_in_every_call(keyed_store: KeyedStore) -> None:
    settings = keyed_store.start("first-key")
    ObjectStore(settings).check_sign_in()
    for change in ({"secret_key": SecretStr("other")}, {"access_key": SecretStr("other")}):
        store = ObjectStore(settings.model_copy(update=change))
        for call in (
            store.check_sign_in,
            lambda store=store: store.get("raw/a"),
            lambda store=store: store.metadata("raw/a"),  # a HEAD request
            lambda store=store: store.put("raw/a", b"a"),
            lambda store=store: list(store.list_objects("raw/")),
        ):
            with pytest.raises(CredentialsError, match="rejects the credentials"):
                call()


def test_minio_distinguishes_wrong_keys_from_rights(minio_user: MinioUser) -> None:
    settings = minio_user.set_key("first-key")
    store = ObjectStore(settings)

    def denied() -> None:
        for call in (store.check_sign_in, lambda: store.get("raw/a"), lambda: store.metadata("raw/a")):
            with pytest.raises(DeniedError, match="and the rights of that user"):
                call()

    denied()
    minio_user.allow()
    assert store.metadata("raw/a") is None
    minio_user.set_key("second-key")
    with pytest.raises(CredentialsError, match="SignatureDoesNotMatch"):
        store.metadata("raw/a")
    minio_user.remove()
    with pytest.raises(CredentialsError, match="InvalidAccessKeyId"):
        store.metadata("raw/a")
    minio_user.set_key("first-key")
    denied()
