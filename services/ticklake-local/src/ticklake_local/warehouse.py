"""A warehouse that speaks Snowflake's protocol: fakesnow, with DuckDB underneath.

It listens on the loopback interface by default.

fakesnow's own server keeps its databases in memory; a client can ask for files, but then gets a DuckDB of its own over
them, and two such clients cannot work at once. So this module is also the server's program: it gives all clients
one DuckDB over the files of one folder.
"""

import argparse
import asyncio
import http.client
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ticklake.settings import WarehouseSettings, load
from ticklake_local.processes import LOOPBACK, Part

_KEEP_CONNECTIONS_SECONDS = 24 * 3600
_PASSWORD = "ONEBOX_WAREHOUSE_PASSWORD"  # noqa: S105 - the name of a variable


class Warehouse(Part):
    """The server. Each database is a file in `data_dir`/databases, which must be local, and survives a restart.

    Files that were PUT into a stage are lost at a restart: a load puts and copies in one go.

    `address` is the interface that it listens on; `password` is asked of every client, None asks for none.
    """

    name = "fakesnow"

    def __init__(
        self,
        data_dir: Path,
        log_dir: Path,
        port: int,
        *,
        address: str = LOOPBACK,
        password: SecretStr | None = None,
    ) -> None:
        super().__init__(port, log_dir)
        self.data_dir, self._address, self._password = data_dir, address, password

    def prepare(self) -> list[str | Path]:
        """Create the folders and return the server's command."""
        self._databases.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._stages, ignore_errors=True)
        self._stages.mkdir()
        return [
            sys.executable,
            "-m",
            "ticklake_local.warehouse",
            "--databases",
            self._databases,
            "--address",
            self._address,
            "--port",
            str(self.port),
            *(["--ask-password"] if self._password else []),
        ]

    def environment(self) -> Mapping[str, str]:
        """The runner's, with a temporary folder of its own: fakesnow never removes the one that it keeps stages in."""
        own = {"TMPDIR": str(self._stages)}
        if self._password:
            own[_PASSWORD] = self._password.get_secret_value()
        return os.environ | own

    def ready(self) -> bool:
        """Whether the server answers Snowflake's protocol."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=2)
        try:
            connection.request("POST", "/queries/v1/abort-request")
            answer = connection.getresponse()
            return answer.status == http.client.OK and b"success" in answer.read()
        except http.client.HTTPException:
            return False
        finally:
            connection.close()

    @property
    def _databases(self) -> Path:
        return self.data_dir / "databases"

    @property
    def _stages(self) -> Path:
        return self.data_dir / "stages"


def local_settings(port: int) -> WarehouseSettings:
    """How to reach the server on `port`; the database is the one that the user's settings name."""
    # fakesnow asks for no password; the connector insists on one.
    return load(WarehouseSettings).model_copy(
        update={
            "host": LOOPBACK,
            "port": port,
            "protocol": "http",
            "password": SecretStr("ticklake"),
            "private_key_file": None,
        }
    )


def serve(databases: Path, address: str, port: int, password: SecretStr | None) -> None:
    """Serve the databases in the folder until SIGTERM, to clients with `password` or, where it is None, to any."""
    import uvicorn
    from fakesnow.instance import FakeSnow

    from ticklake_local.warehouse_authentication import SignIn
    from ticklake_local.warehouse_sessions import AbandonedSessions

    fakesnow: Any = importlib.import_module("fakesnow.server")  # the package has a function of that name
    fakesnow.shared_fs = FakeSnow(db_path=databases)
    # uvicorn stops on the signal, and then raises it once more for whoever handled it before: nobody, so that the
    # databases can be closed below.
    signal.signal(signal.SIGTERM, lambda *_: None)
    open_connections: set[Any] = set()
    watched = AbandonedSessions(fakesnow.app, fakesnow.sessions, open_connections)
    # A client that keeps its connection open must not hold up the stop. The server closes none itself: an open
    # connection is how it knows that a session's client lives.
    server = uvicorn.Server(
        uvicorn.Config(
            SignIn(watched, password) if password else watched,
            host=address,
            port=port,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=3,
            timeout_keep_alive=_KEEP_CONNECTIONS_SECONDS,
        )
    )
    server.server_state.connections = open_connections

    async def run() -> None:
        watching = asyncio.create_task(watched.watch())
        await server.serve()
        watching.cancel()

    asyncio.run(run())
    for session in fakesnow.sessions.values():
        session.close()
    fakesnow.shared_fs.duck_conn.close()  # writes DuckDB's log into the files


def main() -> None:
    """Run the server's program."""
    parser = argparse.ArgumentParser(description="Serve DuckDB files in Snowflake's protocol")
    parser.add_argument("--databases", type=Path, required=True, help="folder of the database files")
    parser.add_argument("--address", default=LOOPBACK, help="interface to listen on, default %(default)s")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--ask-password", action="store_true", help=f"ask clients for the password in {_PASSWORD}")
    arguments = parser.parse_args()
    password = SecretStr(os.environ[_PASSWORD]) if arguments.ask_password else None
    serve(arguments.databases, arguments.address, arguments.port, password)


if __name__ == "__main__":
    main()
