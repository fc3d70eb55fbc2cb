"""No program shows a secret: a canary in every secret setting, and all that programs print, log and serve searched."""

import base64
import logging
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from pydantic_settings import BaseSettings
from running_service import running
from waiting import SECONDS, wait_until

from load_warehouse.session import Session
from ticklake.errors import ConfigurationError, StageError
from ticklake.pipeline import BATCH_STAGES
from ticklake.settings import LiveSettings, WarehouseSettings, load
from ticklake_local.machine_checks import derived, variables
from ticklake_local.processes import LOOPBACK

RUN = ("--date", "2026-01-30", "--run-id", "canary")
SERVICES = ("archive-ticks", "batch-exporter", "dashboard", "market-alerts", "stream-ticks")
ENDING = {
    **{stage.program: RUN for stage in BATCH_STAGES},
    "apply-retention": RUN,
    "maintain-tables": RUN,
    "tick-bars": (*RUN, "--hour", "14"),
    "load-live": ("--run-id", "canary"),
    "held-symbol": ("drop", "AAPL", "--by", "someone"),
    "check-platform": (),
    "rebuild-windows": ("--from", "2026-01-30T14:30Z", "--to", "2026-01-30T15:30Z", "--run-id", "canary"),
    "stream-analytics": (),
}
ELSEWHERE = {"ticklake", "local-server", "check-rules", "kafka-cluster-id", "provision-store"}
"""Read no secret from a variable, but make their own or find them in files."""
ADDRESSES = {
    "TICKLAKE_ALERTS_WEBHOOK_URL": "{server}/{canary}?key={canary}",
    "TICKLAKE_ALERTS_SLACK_WEBHOOK": "{server}/services/{canary}",
    "TICKLAKE_ALPHA_VANTAGE_BASE_URL": "http://reader:{canary}@{host}/query",
    "TICKLAKE_DASHBOARD_ALERTMANAGER": "http://reader:{canary}@{host}",
    "TICKLAKE_YAHOO_ENDPOINT": "http://reader:{canary}@{host}",
}
"""Settings that are addresses and can hold a secret."""


def scripts() -> dict[str, EntryPoint]:
    """The programs of this project that need no Airflow."""
    return {
        each.name: each
        for each in entry_points(group="console_scripts")
        if each.dist is not None
        and each.dist.name != "ticklake-airflow"
        and any(wanted.startswith("ticklake") for wanted in each.dist.requires or [])
    }


def settings_of_programs() -> list[type[BaseSettings]]:
    """Every class of settings that the programs have, the parts of others among them."""
    for script in scripts().values():
        script.load()
    return [each for each in derived(BaseSettings) if not each.__module__.startswith(("ticklake_airflow", "test"))]


def secret_variables() -> set[str]:
    """The variables that are declared as secrets."""
    return {
        variable
        for settings in settings_of_programs()
        for variable, name in variables(settings).items()
        if "SecretStr" in str(settings.model_fields[name].annotation)
    }


class Echo(BaseHTTPRequestHandler):
    """Answers every request with a failure that repeats its address and headers, as some proxies do."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = "".join(f"{name}: {value}\n" for name, value in self.headers.items())
        text = f"<Error><Code>Odd</Code><Message>{self.command} {self.path}\n{headers}</Message></Error>".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """`host:port` of the server."""
    server = ThreadingHTTPServer((LOOPBACK, 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"{LOOPBACK}:{server.server_port}"
    server.shutdown()
    server.server_close()


class Canaries:
    """A secret for each variable, and where one is found again."""

    def __init__(self, echo: str) -> None:
        names = sorted(secret_variables() - ADDRESSES.keys())
        self.values = {name: f"Canary{number:02d}/+{name[-6:]}" for number, name in enumerate(names)}
        self.values["TICKLAKE_CATALOG_CREDENTIAL"] = "reader:" + self.values["TICKLAKE_CATALOG_CREDENTIAL"]
        self.addresses = {
            name: text.format(server=f"http://{echo}", host=echo, canary=f"Canary-{name[9:].lower()}")
            for name, text in ADDRESSES.items()
        }

    @property
    def environment(self) -> dict[str, str]:
        """Variables with their values."""
        return self.values | self.addresses

    def found_in(self, text: str) -> set[str]:
        """The variables whose secrets are in `text`, plainly or as addresses and headers write them."""
        found = {name for name in self.addresses if f"Canary-{name[9:].lower()}" in text}
        for name, value in self.values.items():
            forms = {value, quote(value), quote(value, safe=""), quote_plus(value), repr(value)[1:-1]}
            forms |= {base64.b64encode(f"{user}:{value}".encode()).decode() for user in ("reader", "ticklake")}
            if any(form in text for form in forms):
                found.add(name)
        return found


@pytest.fixture(scope="module")
def canaries(echo: str) -> Canaries:
    return Canaries(echo)


@pytest.fixture
def environment(
    echo: str, canaries: Canaries, live: LiveSettings, stage_env: Callable[..., dict[str, str]]
) -> dict[str, str]:
    """A real broker, and every other server the echoing one; all secrets are set, and all is logged."""
    host, port = echo.split(":")
    return stage_env(
        **canaries.environment,
        TICKLAKE_LOG_LEVEL="DEBUG",
        TICKLAKE_KAFKA_USERNAME="reader",
        TICKLAKE_STORE_ENDPOINT=f"http://{echo}",
        TICKLAKE_STORE_TIMEOUT_SECONDS="2",
        TICKLAKE_CATALOG_URI=f"http://{echo}",
        TICKLAKE_CATALOG_USER="reader",
        TICKLAKE_WAREHOUSE_HOST=host,
        TICKLAKE_WAREHOUSE_PORT=port,
        TICKLAKE_WAREHOUSE_PROTOCOL="http",
        TICKLAKE_WAREHOUSE_TIMEOUT_SECONDS="3",
        TICKLAKE_DASHBOARD_USER="reader",
        TICKLAKE_DASHBOARD_PORT="0",
        TICKLAKE_CREDENTIALS_WAIT_SECONDS="1",
        TICKLAKE_CHECK_WAIT_SECONDS="0",
        TICKLAKE_SYMBOLS="AAPL",
        TICKLAKE_SOURCE="yahoo",
        TICKLAKE_ALERTS_SMTP_HOST=host,
        TICKLAKE_ALERTS_SMTP_USERNAME="reader",
        TICKLAKE_ALERTS_EMAIL_FROM="a@example.com",
        TICKLAKE_ALERTS_EMAIL_TO="b@example.com",
    )


@pytest.fixture
def lake(stage_env: Callable[..., dict[str, str]]) -> dict[str, str]:
    """Variables of a real store and catalog."""
    return {name: text for name, text in stage_env().items() if name.startswith(("TICKLAKE_STORE", "TICKLAKE_CATALOG"))}


def ended(program: Path, arguments: Iterable[str], env: dict[str, str]) -> tuple[int, str]:
    """Exit code and everything that a program printed."""
    done = subprocess.run(
        [str(program), *arguments], env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_every_program_is_looked_at() -> None:
    assert scripts().keys() == {*SERVICES, *ENDING, *ELSEWHERE}
    assert len(secret_variables()) >= 14


@pytest.mark.parametrize("program", ENDING)
def test_a_program_that_ends_shows_no_secret(
    program: str, programs: Path, canaries: Canaries, environment: dict[str, str]
) -> None:
    code, text = ended(programs / program, ENDING[program], environment)
    assert code != 0, "no server lets it do its work"
    assert "help" not in text
    assert canaries.found_in(text) == set(), text


def test_what_the_source_repeats_is_not_shown(
    programs: Path,
    canaries: Canaries,
    environment: dict[str, str],
    lake: dict[str, str],
) -> None:
    """With a real store and catalog, so that it is asked at all."""
    code, text = ended(programs / "fetch-historical", RUN, environment | lake)
    assert (code, "Yahoo" in text) == (1, True), text
    assert canaries.found_in(text) == set(), text


@pytest.mark.parametrize("key", ["password", "private_key_passphrase"])
def test_what_the_warehouse_repeats_is_not_shown(
    key: str, canaries: Canaries, echo: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    host, port = echo.split(":")
    secret = SecretStr(canaries.values[f"TICKLAKE_WAREHOUSE_{key.upper()}"])
    own = {"password": {"password": secret}, "private_key_passphrase": _key_file(tmp_path, secret)}[key]
    settings = WarehouseSettings(host=host, port=int(port), protocol="http", timeout_seconds=3, **own)
    with pytest.raises(StageError) as raised:
        Session(settings, "canary")
    assert canaries.found_in(f"{raised.value}{raised.value.details}{caplog.text}{settings!r}") == set()


def _key_file(folder: Path, passphrase: SecretStr) -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    lock = serialization.BestAvailableEncryption(passphrase.get_secret_value().encode())
    path = folder / "key.pem"
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    return {"private_key_file": path, "private_key_passphrase": passphrase}


@pytest.mark.parametrize("at_work", [True, False], ids=["at work", "rejected"])
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_shows_no_secret(
    service: str,
    at_work: bool,
    programs: Path,
    canaries: Canaries,
    environment: dict[str, str],
    lake: dict[str, str],
    tmp_path: Path,
) -> None:
    served = ""
    with running(programs / service, environment | (lake if at_work else {}), tmp_path / "log") as started:
        wait_until(lambda: started.readiness()[0] or started.process.poll() is not None, started.log.read_text)
        with suppress(OSError):  # some end by themselves where they are rejected
            served = "".join(_served(started.port, path) for path in ("/metrics", "/readyz", "/livez"))
        started.process.terminate()
        started.process.wait(SECONDS)
    log = started.log.read_text()
    assert log
    assert not at_work or "python_info" in served, log
    assert canaries.found_in(served) == set(), served
    assert canaries.found_in(log) == set(), log


def _served(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=SECONDS) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


REJECTED = {
    "TICKLAKE_CATALOG_URI": "postgresql://reader:{}@127.0.0.1/catalog",
    "TICKLAKE_STORE_ENDPOINT": "http://reader:{}@127.0.0.1:9000",
    "TICKLAKE_DASHBOARD_ALERTMANAGER": "htp://reader:{}@127.0.0.1",
    "TICKLAKE_ALPHA_VANTAGE_BASE_URL": "htp://reader:{}@127.0.0.1",
}


@pytest.mark.parametrize("variable", REJECTED)
def test_a_rejected_value_that_holds_a_secret_is_not_shown(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLAKE_CATALOG_URI", "sqlite://")
    monkeypatch.setenv(variable, REJECTED[variable].format("Canary"))
    read = [each for each in settings_of_programs() if variable in variables(each)]
    assert read
    for settings in read:
        with pytest.raises(ConfigurationError) as raised:
            load(settings)
        assert variable in str(raised.value)
        assert "Canary" not in str(raised.value)
