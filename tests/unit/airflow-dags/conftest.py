"""Airflow as a library: without its logging set-up, which would outlast these tests, and with a home of its own."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_api import Api

from ticklake.pipeline import BATCH_STAGES, FURTHER_STAGES, Kind

DAGS = Path(__file__).parents[3] / "airflow-dags" / "dags"
MANIFESTS = Path(__file__).parent / "manifests"
"""A pod's and a SparkApplication's."""


@pytest.fixture(scope="module", autouse=True)
def as_library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What must be set before Airflow is imported, hence imports inside of fixtures and tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_AIRFLOW__AS_LIBRARY", "1")
        patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
        patch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", "kubernetes://")
        patch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", "300")
        yield


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest per program, as the chart's ConfigMap is mounted."""
    folder = tmp_path_factory.mktemp("templates")
    for stage in (*BATCH_STAGES, *FURTHER_STAGES):
        kind, name = ("daily-analytics", "daily-analytics") if stage.kind is Kind.SPARK else ("pod", "PROGRAM")
        text = (MANIFESTS / f"{kind}.yaml").read_text()
        (folder / f"{stage.program}.yaml").write_text(text.replace(name, stage.program))
    return folder


@pytest.fixture
def bag(monkeypatch: pytest.MonkeyPatch, templates: Path) -> Callable[..., Any]:
    """A function that loads the DAGs with these settings, given without their `TICKLAKE_`."""

    def load(**settings: str) -> Any:
        from airflow.dag_processing.dagbag import DagBag

        for name, value in {"TASKS_TEMPLATES": str(templates), **settings}.items():
            monkeypatch.setenv(f"TICKLAKE_{name}", value)
        return DagBag(dag_folder=str(DAGS), include_examples=False)

    return load


@pytest.fixture
def context() -> dict[str, Any]:
    """What a task of a backfilled run of 5 July 2024 finds in its templates."""
    import pendulum

    class DagRun:
        run_type, run_id = "backfill", "backfill__2024-07-05T20:30:00+00:00"
        run_after = pendulum.datetime(2024, 7, 5, 20, 30)
        data_interval_start = pendulum.datetime(2024, 7, 5)
        triggering_user_name = "kim"

    class Instance:
        """Of a task after `decide`."""

        @staticmethod
        def xcom_pull(task_ids: str) -> dict[str, str]:
            assert task_ids == "decide"
            return {
                "held_by": "scheduled__2024-07-05",
                "symbol": "AAPL",
                "batch_date": "2024-07-05",
                "release_run_id": "scheduled__2024-07-05.release-AAPL",
            }

    return {
        "params": {
            "date": None,
            "source": None,
            "symbols": None,
            "hour": None,
            "action": "release",
            "symbol": "AAPL",
            "run": None,
            "from": "2024-07-05T13:30:00Z",
            "to": "2024-07-05T20:00:00Z",
        },
        "ti": Instance,
        "ds": "2024-07-05",
        "run_id": DagRun.run_id,
        "dag_run": DagRun(),
    }


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    server = Api()
    threading.Thread(target=server.server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server.server_port}"}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    monkeypatch.setenv(
        "AIRFLOW_CONN_KUBERNETES_DEFAULT",
        json.dumps({"conn_type": "kubernetes", "extra": {"kube_config_path": str(tmp_path / "config")}}),
    )
    yield server
    server.server.shutdown()
    server.server.server_close()
