"""The script by which the backup of Airflow's database gets into the lake, on a real store."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from chart_objects import CHART, Manifest, find

from ticklake.objects import ObjectStore

SCRIPT = CHART / "files" / "store_backup.py"


def _run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_dump_gets_into_the_lake(
    stage_env: Callable[..., dict[str, str]], store: ObjectStore, tmp_path: Path
) -> None:
    dump = tmp_path / "airflow.dump"
    dump.write_bytes(b"PGDMP" + bytes(range(256)) * 1000)
    done = _run(stage_env(), str(dump), "backups/airflow")
    assert done.returncode == 0, done.stderr
    (kept,) = store.list_objects("backups/")
    assert re.fullmatch(r"backups/airflow/\d{8}T\d{6}Z\.dump", kept.key)
    assert store.get(kept.key) == dump.read_bytes()


def test_a_dump_that_is_not_there(stage_env: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    done = _run(stage_env(), str(tmp_path / "none.dump"), "backups/airflow")
    assert done.returncode != 0
    assert "none.dump" in done.stderr


def test_a_store_that_rejects(stage_env: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    dump = tmp_path / "airflow.dump"
    dump.write_bytes(b"PGDMP")
    done = _run(stage_env(TICKLAKE_STORE_SECRET_KEY="wrong"), str(dump), "backups/airflow")
    assert done.returncode == 2
    assert "check TICKLAKE_STORE_ACCESS_KEY" in done.stderr


def test_the_job_runs_that_script(rendered: Callable[[str], list[Manifest]]) -> None:
    objects = rendered("production")
    assert find(objects, "ConfigMap", "ticklake-airflow-backup")["data"]["store.py"] == SCRIPT.read_text()
    pod = find(objects, "CronJob", "ticklake-airflow-backup")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert "pg_dump" in pod["initContainers"][0]["command"][-1]
    assert pod["containers"][0]["command"] == [
        "python",
        "/opt/backup/store.py",
        "/backup/airflow.dump",
        "backups/airflow",
    ]
