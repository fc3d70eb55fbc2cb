"""Settings: from variables, wrong ones named, secrets never shown."""

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings

from ticklake.errors import ConfigurationError, ExitCode
from ticklake.settings import (
    CatalogSettings,
    KafkaSettings,
    ServiceSettings,
    StageSettings,
    StoreSettings,
    Symbols,
    load,
)


class Example(StageSettings):
    symbols: Symbols = ("AAPL",)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)


def test_variables_are_read_with_their_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLAKE_SYMBOLS", " msft, BRK-B ,")
    monkeypatch.setenv("TICKLAKE_KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2")
    settings = load(Example)
    assert settings.symbols == ("MSFT", "BRK-B")
    assert settings.kafka.bootstrap_servers == "a:1,b:2"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLAKE_STORE_ENDPOINT", "")
    assert load(StoreSettings).endpoint is None


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("TICKLAKE_SYMBOLS", "AAPL,no/pe", "pattern"),
        ("TICKLAKE_SYMBOLS", "AAPL,m\u017fft", "pattern"),
        ("TICKLAKE_LOG_LEVEL", "LOUD", "'DEBUG', 'INFO'"),
        ("TICKLAKE_KAFKA_TIMEOUT_SECONDS", "0", "greater than 0"),
        ("TICKLAKE_KAFKA_SECURITY_PROTOCOL", "TLS", "SASL_SSL"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"^{variable}: .*{reason}") as caught:
        load(Example)
    assert caught.value.exit_code is ExitCode.UNUSABLE


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLAKE_STORE_SECRET_KEY", "hush-hush")
    settings = load(StoreSettings)
    assert "hush" not in repr(settings)
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == "hush-hush"


def test_a_port_out_of_range_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLAKE_METRICS_PORT", "70000")
    with pytest.raises(ConfigurationError, match="TICKLAKE_METRICS_PORT"):
        load(ServiceSettings)


@pytest.mark.parametrize(
    ("variable", "settings"),
    [("TICKLAKE_CATALOG_URI", CatalogSettings), ("TICKLAKE_STORE_ENDPOINT", StoreSettings)],
)
def test_an_address_that_holds_a_password_is_rejected_without_showing_it(
    variable: str, settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "https://me:canary@catalog.example.com/lake")
    with pytest.raises(ConfigurationError, match=f"{variable}: .*has a user in it") as raised:
        load(settings)
    assert "canary" not in str(raised.value)
