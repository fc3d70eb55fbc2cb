"""Sign-in and its failures: what the server is sent, and the one line and exit code that a person gets."""

import base64
import hashlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from gzip import decompress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from json_handler import JsonHandler
from pydantic import SecretStr

from load_warehouse.session import Session
from ticklake.errors import ConfigurationError, StageError
from ticklake.settings import WarehouseSettings
from ticklake_local.processes import free_port


class LoginServer(ThreadingHTTPServer):
    """Answers Snowflake's login request with `answer`, and any statement with `statement`; keeps what it was sent."""

    daemon_threads = True
    answer: dict[str, Any]
    statement: dict[str, Any]
    logins: list[dict[str, Any]]


class _Handler(JsonHandler):
    server: LoginServer

    def do_POST(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = decompress(body)
        login = self.path.startswith("/session/v1/login-request")
        if login:
            self.server.logins.append(json.loads(body)["data"])
        self.reply(200, self.server.answer if login else self.server.statement)


WELCOME = {"success": True, "data": {"token": "t", "masterToken": "m", "parameters": [], "sessionInfo": {}}}


def rejection(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "code": code, "message": message, "data": {"nextAction": "RETRY_LOGIN"}}


@pytest.fixture
def server() -> Iterator[LoginServer]:
    with LoginServer(("127.0.0.1", 0), _Handler) as server:
        server.answer, server.statement, server.logins = WELCOME, {"success": True, "data": {}}, []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def address(server: LoginServer) -> WarehouseSettings:
    return WarehouseSettings(
        account="myorg-account1",
        user="loader",
        password=SecretStr("s3cret"),
        host="127.0.0.1",
        port=server.server_port,
        protocol="http",
        timeout_seconds=3,
    )


@pytest.fixture
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey, path: Path, passphrase: bytes | None) -> Path:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return path


@pytest.mark.parametrize("passphrase", [None, "päss phrase"])
def test_key_pair_goes_before_the_password(
    passphrase: str | None, server: LoginServer, address: WarehouseSettings, key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    file = pem(key, tmp_path / "key.p8", passphrase.encode() if passphrase else None)
    secret = SecretStr(passphrase) if passphrase else None
    Session(address.model_copy(update={"private_key_file": file, "private_key_passphrase": secret}), "test").close()
    (login,) = server.logins
    assert login["AUTHENTICATOR"] == "SNOWFLAKE_JWT"
    assert "PASSWORD" not in login
    head, claims, signature = login["TOKEN"].split(".")

    def decoded(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    key.public_key().verify(decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = base64.b64encode(hashlib.sha256(public).digest()).decode()
    found = json.loads(decoded(claims))
    assert found["sub"].endswith(".LOADER")
    assert found["iss"] == f"{found['sub']}.SHA256:{fingerprint}"


def test_password_and_session_parameters(server: LoginServer, address: WarehouseSettings) -> None:
    Session(address, "ticklake load-warehouse run-1").close()
    (login,) = server.logins
    assert login["PASSWORD"] == "s3cret"
    sent = login["SESSION_PARAMETERS"]
    assert sent["CLIENT_TELEMETRY_ENABLED"] is False
    assert sent["TIMEZONE"] == "UTC"
    assert sent["QUERY_TAG"] == "ticklake load-warehouse run-1"
    assert login["CLIENT_ENVIRONMENT"]["PLATFORM"] == ["disabled"]  # no metadata service was asked


@pytest.mark.parametrize(
    ("code", "message", "line"),
    [
        (
            "390100",
            "Incorrect username or password was specified.",
            "user loader: check TICKLAKE_WAREHOUSE_USER and TICKLAKE_WAREHOUSE_PASSWORD",
        ),
        (
            "390189",
            "Role 'X' specified in the connect string does not exist or not authorized.",
            "role LOADER_ROLE does not exist or is not granted to loader: check TICKLAKE_WAREHOUSE_ROLE",
        ),
        ("390201", "The requested warehouse does not exist or not authorized.", "check TICKLAKE_WAREHOUSE_WAREHOUSE"),
        ("390422", "Incoming request with IP/Token 1.2.3.4 is not allowed to access Snowflake.", "is not allowed to"),
    ],
)
def test_rejected_sign_in(code: str, message: str, line: str, server: LoginServer, address: WarehouseSettings) -> None:
    server.answer = rejection(code, message)
    with pytest.raises(ConfigurationError) as caught:
        Session(address.model_copy(update={"role": "LOADER_ROLE"}), "test")
    assert line in str(caught.value)
    assert code in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_rejected_key(server: LoginServer, address: WarehouseSettings, key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    server.answer = rejection("390144", "JWT token is invalid. [0ce9eb56-821d-4ca9-a774-04ae89a0cf5a]")
    file = pem(key, tmp_path / "key.p8", None)
    with pytest.raises(ConfigurationError, match="RSA_PUBLIC_KEY"):
        Session(address.model_copy(update={"private_key_file": file}), "test")


@pytest.mark.parametrize(
    ("code", "message", "kind", "line"),
    [
        (
            "002003",
            "SQL compilation error:\nDatabase 'X' does not exist or not authorized.",
            ConfigurationError,
            "Database 'X' does not exist or not authorized. (2003): is it there, and may role (default) use it?",
        ),
        (
            "003001",
            "SQL access control error:\nInsufficient privileges to operate on account",
            ConfigurationError,
            "lacks a right, grant it: ",
        ),
        (
            "000606",
            "No active warehouse selected in the current session.",
            ConfigurationError,
            "set TICKLAKE_WAREHOUSE_WAREHOUSE",
        ),
        ("000625", "Statement was aborted because lock waiters exceeded", StageError, "another load holds"),
        ("100038", "Numeric value 'x' is not recognized", StageError, "failed a statement: Numeric value"),
    ],
)
def test_failed_statement(
    code: str, message: str, kind: type[StageError], line: str, server: LoginServer, address: WarehouseSettings
) -> None:
    server.statement = {"success": False, "code": code, "message": message, "data": {"sqlState": "42000"}}
    with Session(address, "test") as session, pytest.raises(kind) as caught:
        session.run("SELECT 1")
    assert type(caught.value).exit_code == (2 if kind is ConfigurationError else 1)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_key_files_that_do_not_work(address: WarehouseSettings, key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    def sign_in(file: Path, passphrase: str | None = None) -> None:
        secret = SecretStr(passphrase) if passphrase else None
        Session(address.model_copy(update={"private_key_file": file, "private_key_passphrase": secret}), "test")

    locked, plain, broken = tmp_path / "locked.p8", tmp_path / "plain.p8", tmp_path / "broken.p8"
    pem(key, locked, b"right")
    pem(key, plain, None)
    broken.write_text("not a key")
    for file, passphrase, line in (
        (tmp_path / "absent.p8", None, "No such file"),
        (broken, None, "is no private key in PEM"),
        (locked, None, "needs a passphrase: set"),
        (locked, "wrong", "PASSPHRASE is wrong"),
        (plain, "needless", "has no passphrase: unset"),
    ):
        with pytest.raises(ConfigurationError, match=line):
            sign_in(file, passphrase)


def test_no_credentials_at_all(address: WarehouseSettings) -> None:
    with pytest.raises(ConfigurationError, match="TICKLAKE_WAREHOUSE_PRIVATE_KEY_FILE or TICKLAKE_WAREHOUSE_PASSWORD"):
        Session(address.model_copy(update={"password": None}), "test")


def run_program(
    programs: Path, program: str, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [programs / program, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_exit_codes_and_one_line(
    history: Any, stage_env: Callable[..., dict[str, str]], programs: Path, server: LoginServer
) -> None:
    history.run()
    run = ("--date", "2024-06-28", "--run-id", "run-1")
    port = free_port()
    nowhere = stage_env(TICKLAKE_WAREHOUSE_PORT=str(port), TICKLAKE_WAREHOUSE_TIMEOUT_SECONDS="2")
    done = run_program(programs, "load-warehouse", nowhere, *run)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
    assert done.stderr.startswith(f"load-warehouse: the warehouse at http://127.0.0.1:{port} does not answer")
    server.answer = rejection("390100", "Incorrect username or password was specified.")
    rejected = stage_env(TICKLAKE_WAREHOUSE_PORT=str(server.server_port))
    done = run_program(programs, "load-warehouse", rejected, *run)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert "rejects the sign-in" in done.stderr
    done = run_program(programs, "reconcile-run", stage_env(), *run)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert "no result of load-warehouse" in done.stderr
    for program in ("load-warehouse", "reconcile-run"):
        done = run_program(programs, program, stage_env(), *run)
        assert (done.returncode, done.stderr) == (0, ""), done
    done = run_program(programs, "load-live", stage_env(), "--run-id", "r")
    assert (done.returncode, done.stderr) == (0, ""), done
