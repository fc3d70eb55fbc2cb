"""Airflow as a user of its API sees it."""

import time
from typing import Any

import httpx
from tests.e2e.cluster.tools import TrialFailed, until

_ENDED = {"success", "failed"}


class Airflow:
    """A signed-in user of the API at `address`."""

    def __init__(self, address: str, password: str) -> None:
        self._http = httpx.Client(base_url=address, timeout=60)
        token = until("Airflow's sign-in", 300, lambda: self._sign_in(password), pause=3)
        self._http.headers["Authorization"] = f"Bearer {token}"

    def _sign_in(self, password: str) -> str | None:
        try:
            answer = self._http.post("/auth/token", json={"username": "admin", "password": password})
        except httpx.TransportError:
            return None
        return str(answer.json()["access_token"]) if answer.is_success else None

    def _call(self, method: str, path: str, **more: Any) -> Any:
        # A port-forward, or the pod behind it, can go away for a moment.
        for attempt in range(5):
            try:
                answer = self._http.request(method, f"/api/v2/{path}", **more)
                break
            except httpx.TransportError:
                if attempt == 4:
                    raise
                time.sleep(3)
        if not answer.is_success:
            raise TrialFailed(f"Airflow answers {answer.status_code} to {method} {path}: {answer.text[:500]}")
        return answer.json()

    def has_dag(self, dag: str) -> bool:
        """Whether the DAG was parsed and stored."""
        found = self._call("GET", "dags", params={"dag_id_pattern": dag, "limit": 10})
        return any(each["dag_id"] == dag for each in found["dags"])

    def import_errors(self) -> list[str]:
        """What could not be parsed."""
        found = self._call("GET", "importErrors")
        return [f"{each['filename']}: {each['stack_trace']}" for each in found["import_errors"]]

    def trigger(self, dag: str, **conf: Any) -> str:
        """Start a run with `conf` and return its id."""
        self._call("PATCH", f"dags/{dag}", json={"is_paused": False})
        run: str = self._call("POST", f"dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})["dag_run_id"]
        return run

    def wait(self, dag: str, run: str, seconds: float) -> str:
        """The state in which the run ended."""

        def ended() -> str | None:
            state: str = self._call("GET", f"dags/{dag}/dagRuns/{run}")["state"]
            return state if state in _ENDED else None

        return str(until(f"run {run} of {dag}", seconds, ended, pause=3))

    def runs(self, dag: str) -> dict[str, str]:
        """The state of each run that is known."""
        found = self._call("GET", f"dags/{dag}/dagRuns", params={"limit": 100})["dag_runs"]
        return {each["dag_run_id"]: each["state"] for each in found}

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """The run's task instances in the order in which they started."""
        found: list[dict[str, Any]] = self._call("GET", f"dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return sorted(found, key=lambda each: each["start_date"] or "~")

    def result(self, dag: str, run: str, task: str) -> Any:
        """What the task returned (XCom)."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value"
        return self._call("GET", path, params={"deserialize": True})["value"]

    def log(self, dag: str, run: str, task: str, attempt: int) -> str:
        """The end of a task's log, for a person."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"
        content = self._call("GET", path, params={"full_content": True})["content"]
        return "\n".join(
            str(line.get("event", line)) if isinstance(line, dict) else str(line) for line in content[-40:]
        )
