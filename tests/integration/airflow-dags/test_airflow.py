"""`ticklake airflow` as a user calls it: the real Airflow on a real broker, store, warehouse and Spark.

Sessions and row counts are the New York Stock Exchange's own: 250 sessions in 2023; closed on 4 July 2024 and early on
the day before; a year up to 2 July 2024 has 252 sessions.
"""

import contextlib
import email
import email.message
import email.policy
import json
import os
import re
import signal
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from waiting import ENDS_SECONDS, wait_until

from load_warehouse.session import Session as Warehouse
from ticklake import lineage
from ticklake.keys import slug
from ticklake.objects import ObjectStore
from ticklake.settings import StoreSettings
from ticklake_local.processes import free_port
from ticklake_local.warehouse import local_settings

pytestmark = pytest.mark.timeout(1500)

DAG = "stock_market_pipeline"
STAGES = [
    "fetch_historical_data",
    "consume_historical_data",
    "validate_raw_data",
    "process_data",
    "load_to_snowflake",
    "validate_loaded_data",
    "pipeline_success",
]
WAIT_SECONDS = 900


def text_of(mail: Envelope) -> str:
    message = email.message_from_bytes(bytes(mail.content or b""), policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    body = message.get_body()
    return f"{message['Subject']}\n{body.get_content() if body else ''}"


class Notices:
    """A webhook and a mail server, and what they were sent."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.mails: list[Envelope] = []
        notices = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notices.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._mail = Controller(self, hostname="127.0.0.1", port=free_port())

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.mails.append(envelope)
        return "250 OK"

    def __enter__(self) -> "Notices":
        self._thread.start()
        self._mail.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._mail.stop()
        self._server.shutdown()
        self._server.server_close()

    def variables(self) -> dict[str, str]:
        smtp = {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": self._mail.port,
            "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "ticklake@example.com"},
        }
        return {
            "TICKLAKE_NOTIFY_SLACK_WEBHOOK": f"http://127.0.0.1:{self._server.server_port}/services/secret",
            "TICKLAKE_NOTIFY_EMAIL": "desk@example.com, duty@example.com",
            "AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(smtp),
        }

    def about(self, run_id: str) -> tuple[list[str], list[Envelope]]:
        """Posts and mails that name the run; Airflow calls back some time after the task's state has changed."""
        found = wait_until(lambda: [each for each in self.mails if run_id in text_of(each)])
        return [post["text"] for post in self.posts if run_id in post["text"]], found


@pytest.fixture(scope="module")
def notices() -> Iterator[Notices]:
    with Notices() as running:
        yield running


class Box:
    """`ticklake airflow` on a folder of its own, and what it printed."""

    def __init__(self, program: Path, folder: Path, variables: dict[str, str]) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TICKLAKE_")}
        self.folder, self._output = folder, folder.parent / "output"
        with self._output.open("wb") as output:
            self.process = psutil.Popen(
                [program, "airflow", "--data", folder, "--source", "simulated"],
                env=kept | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self) -> None:
        wait_until(lambda: "backfill create" in self.output(), self.output, alive=self.runs, seconds=WAIT_SECONDS)

    def runs(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        return self._output.read_text()

    @property
    def store(self) -> ObjectStore:
        found = {
            name: self.environment[f"TICKLAKE_STORE_{name.upper()}"]
            for name in ("endpoint", "access_key", "secret_key")
        }
        return ObjectStore(StoreSettings(**found))

    @property
    def environment(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "airflow" / "environment.json").read_text())
        return found

    def sql(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        settings = local_settings(int(self.environment["TICKLAKE_WAREHOUSE_PORT"]))
        with Warehouse(settings, "test") as session:
            return list(session.rows(statement, values))

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> dict[str, Any]:
        """What Airflow's API answers to the user that was printed."""
        printed = re.search(r"Airflow runs at (\S+);.*user (\S+), password (\S+)", self.output(), re.DOTALL)
        assert printed is not None
        address, user, password = printed.groups()
        with httpx.Client(base_url=address, timeout=60) as client:
            token = client.post("/auth/token", json={"username": user, "password": password}).json()["access_token"]
            answer = client.request(
                method or ("POST" if body else "GET"), path, json=body, headers={"Authorization": f"Bearer {token}"}
            )
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def box(
    local_tools: object, programs: Path, notices: Notices, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Box]:
    variables = notices.variables() | {
        # So that a run may be asked for from a source that does not answer.
        "TICKLAKE_YAHOO_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "TICKLAKE_YAHOO_ATTEMPTS": "1",
        "TICKLAKE_TASKS_RETRIES": "1",
        "TICKLAKE_TASKS_RETRY_SECONDS": "1",
        "TICKLAKE_SCHEDULE": "sessions",
        # Only what the tests ask for is to run.
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    }
    running = Box(programs / "ticklake", tmp_path_factory.mktemp("airflow") / "data", variables)
    try:
        running.wait_ready()
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            running.process.wait(90)


class Asked:
    """Runs that the tests asked for, all at once, so that they share what they wait for."""

    GREEN, NO_SOURCE, NO_SYMBOL = "to-green+1", "no-source+1", "no-symbol+1"

    def __init__(self, box: Box) -> None:
        self.box = box
        self.trigger(DAG, self.NO_SOURCE, {"source": "yahoo", "symbols": "AAPL", "date": "2024-07-02"})
        self.trigger(DAG, self.NO_SYMBOL, {"source": "replay", "symbols": "NOPE", "date": "2013-03-01"})
        self.trigger(DAG, self.GREEN, {"date": "2023-12-29"})
        self.trigger("live_archive_hourly", "an-hour", {"date": "2024-01-06", "hour": 3})
        self.trigger("housekeeping", "a-day", {"date": "2024-01-06"})
        box.ask(
            "/api/v2/backfills",
            {
                "dag_id": DAG,
                "from_date": "2024-07-03T00:00:00Z",
                "to_date": "2024-07-05T23:00:00Z",
                "max_active_runs": 2,
                "dag_run_conf": {"symbols": "IBM,ORCL"},
                "reprocess_behavior": "none",
            },
        )

    def trigger(self, dag: str, run_id: str, conf: dict[str, Any]) -> None:
        self.box.ask(f"/api/v2/dags/{dag}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})

    def runs(self, dag: str = DAG) -> dict[str, dict[str, Any]]:
        return {run["dag_run_id"]: run for run in self.box.ask(f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]}

    def ended(self, run_id: str, dag: str = DAG) -> dict[str, Any]:
        def run() -> dict[str, Any] | None:
            found = self.runs(dag)[run_id]
            return found if found["state"] in ("success", "failed") else None

        return wait_until(
            run,
            lambda: self.tasks(run_id, dag) if self.box.runs() else self.box.output(),
            alive=self.box.runs,
            seconds=WAIT_SECONDS,
            pause=1,
        )

    def tasks(self, run_id: str, dag: str = DAG) -> dict[str, dict[str, Any]]:
        path = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run_id)}/taskInstances"
        return {task["task_id"]: task for task in self.box.ask(path)["task_instances"]}

    def result(self, run_id: str, task: str, dag: str = DAG) -> Any:
        path = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run_id)}/taskInstances/{task}/xcomEntries/return_value"
        return self.box.ask(path)["value"]

    def log(self, run_id: str, task: str, attempt: int, dag: str = DAG) -> str:
        path = f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run_id)}/taskInstances/{task}/logs/{attempt}"
        lines = self.box.ask(path)["content"]
        return "\n".join(line["event"] if isinstance(line, dict) else str(line) for line in lines)


@pytest.fixture(scope="module")
def asked(box: Box) -> Asked:
    return Asked(box)


def test_a_source_that_does_not_answer_is_tried_again_and_then_reported(asked: Asked, notices: Notices) -> None:
    run = asked.ended(asked.NO_SOURCE)
    tasks = asked.tasks(asked.NO_SOURCE)
    assert run["state"] == "failed"
    assert (tasks["fetch_historical_data"]["state"], tasks["fetch_historical_data"]["try_number"]) == ("failed", 2)
    assert {task["state"] for name, task in tasks.items() if name != "fetch_historical_data"} == {"upstream_failed"}
    for attempt in (1, 2):
        assert "TICKLAKE_YAHOO_ENDPOINT right?" in asked.log(asked.NO_SOURCE, "fetch_historical_data", attempt)
    # Once, for the attempt that was the last.
    (text,), (mail,) = notices.about(asked.NO_SOURCE)
    assert "fetch_historical_data failed" in text
    assert "attempt 2" in text
    assert "AAPL" in text
    assert mail.rcpt_tos == ["desk@example.com", "duty@example.com"]
    assert text_of(mail).startswith("ticklake: stock_market_pipeline: fetch_historical_data failed\n")


def test_input_that_no_retry_can_recover_fails_at_once(asked: Asked, notices: Notices) -> None:
    assert asked.ended(asked.NO_SYMBOL)["state"] == "failed"
    task = asked.tasks(asked.NO_SYMBOL)["fetch_historical_data"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    (text,), _ = notices.about(asked.NO_SYMBOL)
    assert "exit code 2" in text
    assert "NOPE" in text


def test_a_run_goes_to_green_with_every_row(asked: Asked, box: Box) -> None:
    """Ten symbols over the year to 29 December 2023: its 250 sessions and 30 December 2022."""
    run = asked.ended(asked.GREEN)
    tasks = asked.tasks(asked.GREEN)
    assert run["state"] == "success", {name: task["state"] for name, task in tasks.items()}
    assert sorted(tasks) == sorted(STAGES)
    began = [tasks[name]["start_date"] for name in STAGES]
    ended = [tasks[name]["end_date"] for name in STAGES]
    assert all(end <= begin for end, begin in zip(ended, began[1:], strict=False)), "stages overlap"
    for name in STAGES:
        result = asked.result(asked.GREEN, name)
        assert (result["rows_in"], result["rows_out"], result["quarantined"]) == (2510, 2510, 0), name
        assert result["batch_date"] == "2023-12-29"
        assert result["run_id"] == slug(asked.GREEN)
    statement = "SELECT COUNT(*) FROM STOCK_MARKET.MARKET_TEST.DAILY_ANALYTICS WHERE BATCH_ID = %s"
    assert box.sql(statement, slug(asked.GREEN)) == [(2510,)]
    summary = lineage.read_run(box.store, slug(asked.GREEN))
    assert summary.reconciled
    assert {symbol.warehouse for symbol in summary.symbols.values()} == {251}
    assert len(summary.symbols) == 10
    assert "rows_out=2510" in asked.log(asked.GREEN, "fetch_historical_data", 1)


def test_a_backfill_takes_the_sessions_and_no_other_day(asked: Asked, box: Box) -> None:
    """3 (closed at 13:00) and 5 July 2024; New York is four hours behind UTC."""
    wanted = {
        "2024-07-03": ("2024-07-03T17:00:00Z", "2024-07-03T17:30:00Z"),
        "2024-07-05": ("2024-07-05T20:00:00Z", "2024-07-05T20:30:00Z"),
    }
    runs = {run_id: run for run_id, run in asked.runs().items() if run["run_type"] == "backfill"}
    found = {run["logical_date"][:10]: (run["data_interval_end"], run["run_after"]) for run in runs.values()}
    assert found == wanted
    for run_id, run in runs.items():
        assert asked.ended(run_id)["state"] == "success", asked.tasks(run_id)
        result = asked.result(run_id, "pipeline_success")
        assert result["batch_date"] == run["logical_date"][:10]
        # The whole history that was known by then: whichever of the two was analysed first has 252 sessions or 253.
        assert result["rows_in"] == result["rows_out"]
        assert result["rows_out"] in range(2 * 252, 2 * 253 + 1)
        assert result["symbols"] == 2
        assert lineage.read_run(box.store, slug(run_id)).reconciled


def test_the_hourly_work_gets_its_hour(asked: Asked) -> None:
    assert asked.ended("an-hour", "live_archive_hourly")["state"] == "success"
    printed = asked.log("an-hour", "make_tick_bars", 1, "live_archive_hourly")
    assert "Running tick-bars --date 2024-01-06 --hour 3 --run-id an-hour" in printed
    assert "Running load-live --run-id an-hour" in asked.log("an-hour", "load_live", 1, "live_archive_hourly")


def test_housekeeping_goes_to_green(asked: Asked) -> None:
    assert asked.ended("a-day", "housekeeping")["state"] == "success"
    printed = asked.log("a-day", "clean_airflow_metadata", 1, "housekeeping")
    assert "Running clean-metadata --date 2024-01-06 --days 90" in printed
    assert "Running maintain-tables --date 2024-01-06 --run-id a-day" in asked.log(
        "a-day", "maintain_tables", 1, "housekeeping"
    )


def test_airflows_own_command_works_beside_it(box: Box, asked: Asked, programs: Path) -> None:
    done = subprocess.run(
        [programs / "ticklake", "airflow", "--data", box.folder, "dags", "list", "--output", "json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    listed = json.loads(done.stdout[done.stdout.index("[{") :])
    others = {"held_symbols", "live_archive_hourly", "rebuild_windows", "housekeeping"}
    assert {dag["dag_id"] for dag in listed} == {DAG, *others}


def test_ctrl_c_ends_a_stage_too_and_leaves_no_process(box: Box, asked: Asked) -> None:
    for run_id in asked.runs():
        asked.ended(run_id)
    asked.trigger(DAG, "interrupted", {"symbols": "IBM", "date": "2024-07-02"})
    wait_until(lambda: any("fetch-historical" in word for word in words_of(box.process)), pause=0.05)
    family = box.process.children(recursive=True)
    box.process.send_signal(signal.SIGINT)
    assert box.process.wait(90) == 0, box.output()
    gone, alive = psutil.wait_procs(family, timeout=ENDS_SECONDS)
    assert alive == []
    assert len(gone) > 6
    assert "Traceback" not in box.output()


def words_of(process: psutil.Process) -> Iterator[str]:
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            yield from child.cmdline()
