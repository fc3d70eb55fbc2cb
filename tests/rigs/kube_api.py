"""As much of a Kubernetes API server as tasks need that find the pod of an earlier attempt, and such tasks."""

import json
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Api:
    """Holds pods and SparkApplications by their paths, and notes what is created and deleted."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.listed: list[dict[str, Any]] = []
        """Pods that a search by labels finds."""
        self.deleted: list[str] = []
        self.created: list[dict[str, Any]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, status: int, body: Any) -> None:
                text = body if isinstance(body, str) else json.dumps(body)
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
                self.end_headers()
                self.wfile.write(text.encode())

            def body(self) -> Any:
                return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path.endswith("/log"):
                    return self.answer(200, "a line of the log\n")
                if path.endswith(("/pods", "/events")):
                    kind = "PodList" if path.endswith("/pods") else "EventList"
                    version = "v1" if kind == "PodList" else "events.k8s.io/v1"
                    items = api.listed if kind == "PodList" else []
                    return self.answer(200, {"kind": kind, "apiVersion": version, "metadata": {}, "items": items})
                found = api.objects.get(path)
                return self.answer(200 if found else 404, found or {"kind": "Status", "code": 404})

            def do_POST(self) -> None:
                self.body_given = self.body()
                api.created.append(self.body_given)
                known = self.path.partition("?")[0] in api.objects
                self.answer(201 if known else 404, self.body_given)

            def do_PATCH(self) -> None:
                self.body()
                self.answer(200, api.objects[self.path.partition("?")[0]])

            def do_DELETE(self) -> None:
                self.body()
                api.deleted.append(self.path.partition("?")[0].rpartition("/")[2])
                self.answer(200, {"kind": "Status", "status": "Success"})

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def put_pod(self, name: str, container: str, code: int, message: str) -> None:
        """Let an earlier attempt have left a pod whose container has ended."""
        state = {"terminated": {"exitCode": code, "message": message, "reason": "Completed" if code == 0 else "Error"}}
        statuses = [_status(container, state)]
        phase = "Succeeded" if code == 0 else "Failed"
        if container == "base":
            # The container that hands the result over keeps the pod running.
            statuses, phase = [*statuses, _status("airflow-xcom-sidecar", {"running": {}})], "Running"
        labels = {"try_number": "1", "spark-role": "driver"}
        pod = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "ticklake", "labels": labels},
            "spec": {"containers": [{"name": container, "image": "i"}]},
            "status": {"phase": phase, "containerStatuses": statuses},
        }
        self.objects[f"/api/v1/namespaces/ticklake/pods/{name}"] = pod
        self.listed = [pod]


def _status(container: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"name": container, "state": state, "ready": False, "restartCount": 0, "image": "i", "imageID": "i"}


class TaskInstance:
    """What the operators ask of a task instance."""

    dag_id, run_id, try_number, map_index = "stock_market_pipeline", "run", 1, -1
    start_date = datetime.now(UTC)

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def executed(task: Any, context: dict[str, Any]) -> tuple[Any, TaskInstance]:
    """Run the task as Airflow does; returns its result and its task instance."""
    ti = TaskInstance(task.task_id)
    return task.execute(context | {"ti": ti, "task_instance": ti, "dag": None}), ti
