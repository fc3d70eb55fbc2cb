"""Tasks as local processes: real programs, whose exit code, output and result Airflow has to understand."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

Program = Callable[[str], str]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """A function that puts a shell script on the path, under a name that it returns."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def put(text: str) -> str:
        path = tmp_path / "a-stage"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path.name

    return put


def operator(program: str, *arguments: str, **environment: str) -> Any:
    from ticklake_airflow.local_tasks import LocalStageOperator

    return LocalStageOperator(task_id="task", program=program, arguments=arguments, environment=environment)


def test_the_result_is_what_the_program_wrote(program: Program) -> None:
    name = program("""printf '{"date": "%s", "rows_out": 3}' "$2" > "$TICKLAKE_XCOM_FILE" """)
    assert operator(name, "--date", "2024-07-05").execute({}) == {"date": "2024-07-05", "rows_out": 3}


def test_a_program_without_a_result_gives_none(program: Program) -> None:
    assert operator(program("true")).execute({}) is None


def test_every_line_goes_to_the_tasks_log(program: Program) -> None:
    with capture_logs() as logged:
        operator(program("echo to stdout; echo to stderr >&2")).execute({})
    lines = [entry["event"] % entry.get("positional_args", ()) for entry in logged]
    assert [line for line in lines if line.startswith("to ")] == ["to stdout", "to stderr"]


def test_overrides_go_first_and_empty_ones_give_way(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLAKE_SOURCE", "simulated")
    monkeypatch.setenv("TICKLAKE_SYMBOLS", "AAPL")
    name = program("""printf '["%s", "%s"]' "$TICKLAKE_SOURCE" "$TICKLAKE_SYMBOLS" > "$TICKLAKE_XCOM_FILE" """)
    assert operator(name, TICKLAKE_SOURCE="", TICKLAKE_SYMBOLS="MSFT").execute({}) == ["simulated", "MSFT"]


@pytest.mark.parametrize(
    ("exit_with", "retried", "message"),
    [
        (
            "echo 'a-stage: the broker does not answer' >&2; exit 1",
            True,
            "exit code 1: a-stage: the broker does not answer",
        ),
        ("echo 'a-stage: no such symbol' >&2; exit 2", False, "exit code 2"),
        ("kill -KILL $$", True, "exit code -9: it printed nothing"),
    ],
)
def test_only_exit_code_2_is_final(program: Program, exit_with: str, retried: bool, message: str) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    with pytest.raises(AirflowException, match=message) as raised:
        operator(program(exit_with)).execute({})
    assert isinstance(raised.value, AirflowFailException) is not retried


def test_a_program_that_is_not_there_is_final() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="no program not-a-stage"):
        operator("not-a-stage").execute({})


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
def test_a_task_that_is_stopped_stops_its_process(
    program: Program, trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that does not want to."""
    from airflow.sdk.exceptions import AirflowException

    from ticklake_airflow import local_tasks

    monkeypatch.setattr(local_tasks, "_STOP_SECONDS", 0.5)
    task = operator(program(f"{trap} echo $$ > {tmp_path}/pid; while true; do sleep 0.1; done"))
    threading.Timer(0.5, task.on_kill).start()
    with pytest.raises(AirflowException, match="exit code -"):
        task.execute({})
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_task_that_takes_too_long_stops_its_process(program: Program, tmp_path: Path) -> None:
    """Airflow raises its time-out from a signal, wherever the task is."""
    from airflow.sdk.exceptions import AirflowTaskTimeout

    def ring(*_: object) -> None:
        raise AirflowTaskTimeout("too long")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        task = operator(program(f"echo $$ > {tmp_path}/pid; exec sleep 60"))
        began = time.monotonic()
        with pytest.raises(AirflowTaskTimeout):
            task.execute({})
        assert time.monotonic() - began < 30
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("params", "ds", "expected"),
    [
        ({"date": None}, "2024-07-05", "2024-07-05"),
        ({"date": "2023-12-29"}, "2024-07-05", "2023-12-29"),
        ({"date": None}, None, "2024-07-06"),  # by hand, without a logical date
    ],
)
def test_which_date_and_run_a_task_gets(
    params: dict[str, Any], ds: str | None, expected: str, context: dict[str, Any], bag: Callable[..., Any]
) -> None:
    import pendulum

    context["params"] |= params
    context["dag_run"].run_after = pendulum.datetime(2024, 7, 6, 1)
    if ds is None:
        del context["ds"]
    arguments = []
    for _ in range(2):  # an attempt and its retry
        dag = bag(TASKS_RUN_IN="local").dags["stock_market_pipeline"]
        task = dag.get_task("fetch_historical_data")
        task.render_template_fields(context, dag.get_template_env())
        arguments.append(task.arguments)
    assert arguments[0] == arguments[1]
    assert arguments[0][:3] == ["--date", expected, "--run-id"]
    # Readable, and safe in a key: what is replaced is made up for by a part of the original's hash.
    assert arguments[0][3].startswith("backfill__2024-07-05T20-30-00-00-00-")
    assert arguments[0][3].replace("-", "").replace("_", "").isalnum()
