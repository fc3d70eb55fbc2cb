"""What becomes of a transaction whose client dies, stays idle, or comes back too late."""

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from snowflake.connector.errors import Error
from waiting import SECONDS, wait_until

from load_warehouse.session import connection_arguments
from ticklake_local.processes import free_port
from ticklake_local.warehouse import Warehouse, local_settings

MERGE = (
    "MERGE INTO bars USING staging ON bars.symbol = staging.symbol "
    "WHEN MATCHED THEN UPDATE SET close = staging.close "
    "WHEN NOT MATCHED THEN INSERT (symbol, close) VALUES (staging.symbol, staging.close)"
)

# Changes the rows in a transaction as a load does, says so, and never comes to the COMMIT.
UNFINISHED = """
import json, sys, time
import snowflake.connector
connection = snowflake.connector.connect(**json.loads(sys.argv[1]))
connection.autocommit(False) if sys.argv[2] == "implicit" else connection.cursor().execute("BEGIN")
connection.cursor().execute(sys.argv[3])
print("changed", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    folder = tmp_path_factory.mktemp("sessions")
    server = Warehouse(folder / "warehouse", folder / "logs", free_port())
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


def parameters(warehouse: Warehouse) -> dict[str, Any]:
    arguments = connection_arguments(local_settings(warehouse.port), "test")
    return arguments | {"database": "TICKLAKE", "schema": "MARKET", "validate_default_parameters": False}


@pytest.fixture
def connect(warehouse: Warehouse) -> Iterator[Callable[[], Any]]:
    """Opens connections; the table `bars` holds AAPL 1.5, the table `staging` AAPL 9.5 and V 3.5."""
    opened: list[Any] = []

    def connect() -> Any:
        # The server answers a conflict with HTTP 500, which the connector tries again until this time is over.
        opened.append(snowflake.connector.connect(**(parameters(warehouse) | {"network_timeout": 2})))
        return opened[-1]

    cursor = connect().cursor()
    for table, values in (("bars", "('AAPL', 1.5)"), ("staging", "('AAPL', 9.5), ('V', 3.5)")):
        cursor.execute(f"CREATE OR REPLACE TABLE {table} (symbol VARCHAR, close FLOAT)")
        cursor.execute(f"INSERT INTO {table} VALUES {values}")
    yield connect
    for one in opened:
        one.close()


def bars(connection: Any) -> list[tuple[str, float]]:
    return list(connection.cursor().execute("SELECT symbol, close FROM bars ORDER BY symbol").fetchall())


@pytest.mark.parametrize(("kind", "statement"), [("implicit", MERGE), ("explicit", "UPDATE bars SET close = 100")])
def test_the_transaction_of_a_killed_client_is_rolled_back(
    warehouse: Warehouse, connect: Callable[[], Any], kind: str, statement: str
) -> None:
    def merged() -> bool:
        try:
            connect().cursor().execute(MERGE)
        except Error:
            return False
        return True

    command = [sys.executable, "-c", UNFINISHED, json.dumps(parameters(warehouse)), kind, statement]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "changed\n"
        other = connect()
        assert bars(other) == [("AAPL", 1.5)]
        with pytest.raises(Error):  # while it lives, its rows are its own
            other.cursor().execute("UPDATE bars SET close = 2")
        client.send_signal(signal.SIGKILL)
    wait_until(merged, warehouse.log_path.read_text, pause=0.5)
    assert bars(connect()) == [("AAPL", 9.5), ("V", 3.5)]
    assert warehouse.child is not None
    assert warehouse.child.poll() is None
    assert "rolled its transaction back" in warehouse.log_path.read_text()


def test_a_live_client_may_compute_for_as_long_as_it_likes(connect: Callable[[], Any]) -> None:
    client = connect()
    client.autocommit(False)
    client.cursor().execute(MERGE)
    time.sleep(8)
    client.commit()
    assert bars(connect()) == [("AAPL", 9.5), ("V", 3.5)]


class RawClient:
    """Snowflake's protocol by hand, so that the connection can be closed while the session is kept."""

    def __init__(self, port: int) -> None:
        self.port = port
        login = {"data": {"SESSION_PARAMETERS": {"AUTOCOMMIT": False}}}
        self.token = ""
        path = "/session/v1/login-request?databaseName=TICKLAKE&schemaName=MARKET"
        self.token = self.post(path, login)["data"]["token"]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            headers = {"Authorization": f'Snowflake Token="{self.token}"'} if self.token else {}
            connection.request("POST", path, json.dumps(body), headers)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def run(self, statement: str) -> Any:
        return self.post("/queries/v1/query-request", {"sqlText": statement})


def test_a_client_that_comes_back_too_late_cannot_commit_half_a_transaction(
    warehouse: Warehouse, connect: Callable[[], Any]
) -> None:
    client = RawClient(warehouse.port)
    assert client.run("UPDATE bars SET close = 7")["success"] is True
    time.sleep(1)  # a new connection soon after the last goes on with the session
    assert client.run("INSERT INTO bars VALUES ('MSFT', 7)")["success"] is True
    time.sleep(7)
    late = client.run("INSERT INTO bars VALUES ('IBM', 7)")
    assert (late["success"], late["code"]) == (False, "390104")
    assert client.run("COMMIT")["success"] is False
    assert bars(connect()) == [("AAPL", 1.5)]


def test_a_session_outside_a_transaction_is_kept(
    warehouse: Warehouse, connect: Callable[[], Any], tmp_path: Path
) -> None:
    client = RawClient(warehouse.port)
    assert client.run("UPDATE bars SET close = 7")["success"] is True
    assert client.run("COMMIT")["success"] is True
    time.sleep(6)
    assert client.run("SELECT 1")["success"] is True
    assert bars(connect()) == [("AAPL", 7.0)]
