"""Install the platform on the cluster that KUBECONFIG names, run the pipeline in Airflow, and count rows everywhere."""

import argparse
import base64
import json
import secrets
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any

from tests.e2e.cluster import checks, parts
from tests.e2e.cluster.airflow import Airflow
from tests.e2e.cluster.tools import Cluster, TrialFailed, has_crd, run, until

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
DAG = "stock_market_pipeline"
DATE = "2024-06-28"
OPERATORS = {"kafka": "kafkas.kafka.strimzi.io", "store": "tenants.minio.min.io"}
"""Parts, and the kind of object by which an operator's presence shows."""
IMAGES = (
    "fetch-historical", "consume-historical", "load-warehouse", "provision-store", "stream-ticks", "archive-ticks",
    "market-alerts", "batch-exporter", "dashboard", "spark-apps", "airflow-dags", "onebox-parts",
)  # fmt: skip


class Trial:
    """One trial: its namespaces, its choice of parts, and the seconds of each step."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.platform = Cluster(options.namespace)
        self.parts = Cluster(f"{options.namespace}-parts")
        self.plain: list[str] = options.plain
        self.keys = ("trial", secrets.token_hex(16))

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say what is done and how long it took."""
        print(f"{what} …", flush=True)
        began = time.monotonic()
        yield
        print(f"  done in {time.monotonic() - began:.0f} s", flush=True)

    def images(self) -> None:
        """Build the images and hand them to the nodes."""
        if not self.options.skip_build:
            run("make", "-C", str(ROOT), "images", seconds=3600)
        for image in IMAGES:
            run(*shlex.split(self.options.load), f"ticklake/{image}:{self.options.tag}", seconds=600)

    def start_parts(self) -> None:
        """Kafka, store and warehouse as plain pods; of the first two only what no operator runs."""
        self.parts.ensure_namespace()
        # What an earlier trial left has other keys, and data of its own.
        self.parts.kubectl("delete", "pods,jobs", "--all", "--wait")
        image = f"ticklake/onebox-parts:{self.options.tag}"
        wanted = [*self.plain, "warehouse"]
        self.parts.apply(json.dumps(parts.manifests(wanted, self.parts.namespace, image, *self.keys)))
        self.parts.kubectl("wait", "--for=condition=Ready", "pod", "-l", "part", "--timeout=300s")
        for part in self.plain:
            self.parts.kubectl("wait", "--for=condition=Complete", f"job/prepare-{part}", "--timeout=300s")

    def _filled(self, name: str) -> str:
        return Template((HERE / name).read_text()).substitute(namespace=self.parts.namespace)

    def install(self) -> None:
        """The platform's chart."""
        self.platform.ensure_namespace()
        self.platform.secret("trial-warehouse", password="trial")
        self.platform.secret("trial-store-keys", **{"access-key": self.keys[0], "secret-key": self.keys[1]})
        with ExitStack() as stack:
            files = [ROOT / "charts/ticklake/values-kind.yaml"]
            for name in ("values-trial.yaml", *(f"values-{part}.yaml" for part in self.plain)):
                path = self.options.work / name
                path.write_text(self._filled(name))
                stack.callback(path.unlink)
                files.append(path)
            values = [word for file in files for word in ("-f", str(file))]
            self._helm("ticklake", str(ROOT / "charts/ticklake"), *values)

    def install_airflow(self) -> None:
        """Airflow's own chart with the platform's values."""
        values = ["-f", str(ROOT / "charts/values-airflow.yaml")]
        values += [word for file in self.options.airflow_values for word in ("-f", file)]
        self._helm("airflow", *shlex.split(self.options.airflow_chart), *values)

    def _helm(self, release: str, *words: str) -> None:
        command = ("helm", "upgrade", "--install", release, *words, "-n", self.platform.namespace)
        run(*command, "--wait", "--timeout=15m", seconds=1000)

    def helm_test(self) -> None:
        """The chart's own test: a pod that writes and reads back."""
        run("helm", "test", "ticklake", "-n", self.platform.namespace, "--timeout=5m")

    def pipeline(self) -> str:
        """Trigger the DAG, wait until it is green, print its tasks; returns the stages' run id."""
        password = self._secret("ticklake-airflow-credentials", "admin-password")
        with self.platform.forwarded("svc/airflow-api-server", 8080) as port:
            airflow = Airflow(f"http://127.0.0.1:{port}", password)
            until(f"DAG {DAG}", 180, lambda: airflow.has_dag(DAG))
            checks.same("import errors", airflow.import_errors(), [])
            dag_run = airflow.trigger(DAG, date=DATE)
            state = airflow.wait(DAG, dag_run, self.options.timeout)
            tasks = airflow.tasks(DAG, dag_run)
            for seconds, task in zip(elapsed(tasks), tasks, strict=True):
                print(f"  {task['state'] or '-':8} {seconds:6.1f} s  {task['task_id']}", flush=True)
            if state != "success":
                failed = next((task for task in tasks if task["state"] == "failed"), tasks[-1])
                said = airflow.log(DAG, dag_run, failed["task_id"], failed["try_number"])
                raise TrialFailed(f"the run ended as {state}; {failed['task_id']} said:\n{said}")
            total = sum(checks.EXPECTED.values())
            for task in tasks:
                # A task that only a retry brought to green has a fault that the next run may meet again.
                checks.same(f"attempts of {task['task_id']}", task["try_number"], 1)
                result = airflow.result(DAG, dag_run, task["task_id"])
                counts = (result["rows_in"], result["rows_out"], result["quarantined"])
                checks.same(f"rows of {task['task_id']} (XCom)", counts, (total, total, 0))
            return str(result["run_id"])

    def count(self, run_id: str) -> None:
        """Every row in every place."""
        with self._store() as store:
            checks.lake(store, run_id)
        with self.parts.forwarded("svc/warehouse", 8080) as port:
            checks.warehouse(port, run_id)

    def live(self) -> None:
        """The ticks of a live minute: archived without gap, windows on their way."""
        with self._store() as store:
            before = until("first archived ticks", 300, lambda: checks.archived(store), pause=3)
            until("more archived ticks", 120, lambda: checks.archived(store) > before + 50, pause=3)
        state = until("stream-analytics", 300, lambda: self._application_state() == "RUNNING", pause=3)
        checks.same("stream-analytics runs", state, True)

    def _application_state(self) -> str:
        found = self.platform.get("sparkapplication", "ticklake-stream-analytics")
        return str(found.get("status", {}).get("applicationState", {}).get("state", ""))

    def upgrade(self) -> None:
        """A second installation of the same keeps passwords."""
        before = self._credentials()
        self.install()
        checks.same("credentials are kept", self._credentials() == before, True)

    def _credentials(self) -> dict[str, Any]:
        found = self.platform.get("secrets")["items"]
        # Helm's own record of a release changes with each.
        return {each["metadata"]["name"]: each["data"] for each in found if not each["type"].startswith("helm.sh/")}

    def remove(self) -> None:
        """Everything that was installed."""
        for release in ("airflow", "ticklake"):
            run("helm", "uninstall", release, "-n", self.platform.namespace, "--ignore-not-found", "--wait")
        for namespace in (self.platform.namespace, self.parts.namespace):
            run("kubectl", "delete", "namespace", namespace, "--ignore-not-found", "--wait", "--timeout=300s")

    def _secret(self, name: str, key: str) -> str:
        return base64.b64decode(self.platform.get("secret", name)["data"][key]).decode()

    @contextmanager
    def _store(self) -> Iterator[checks.ObjectStore]:
        if "store" in self.plain:
            with self.parts.forwarded("svc/store", 9000) as port:
                yield checks.store_at(port, *self.keys)
        else:
            keys = [self._secret("ticklake-store-admin", key) for key in ("access-key", "secret-key")]
            with self.platform.forwarded("svc/minio", 80) as port:
                yield checks.store_at(port, *keys)


def elapsed(tasks: list[dict[str, Any]]) -> list[float]:
    """Seconds from the end of the task before to the end of each: what Airflow calls a duration leaves out waiting."""
    ends = [datetime.fromisoformat(task["end_date"]) for task in tasks if task["end_date"]]
    began = datetime.fromisoformat(tasks[0]["queued_when"] or tasks[0]["start_date"])
    times = [(end - before).total_seconds() for before, end in zip([began, *ends], ends, strict=False)]
    return times + [0.0] * (len(tasks) - len(ends))


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make e2e ARGS=…", description=__doc__)
    parser.add_argument("--namespace", default="ticklake-e2e")
    parser.add_argument("--tag", default="0.1.0", help="tag of the images")
    parser.add_argument("--load", default="kind load docker-image", help="command that hands an image to the nodes")
    parser.add_argument("--skip-build", action="store_true", help="the images are there already")
    parser.add_argument(
        "--plain", choices=("kafka", "store", "none"), action="append",
        help="part to run as a plain pod (again for another, or none); by default what has no operator here",
    )  # fmt: skip
    parser.add_argument(
        "--airflow-chart", default="airflow --repo https://airflow.apache.org --version 1.22.0",
        help="where helm finds Airflow's chart",
    )  # fmt: skip
    parser.add_argument("--airflow-values", action="append", default=[], help="further values for it")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds for the pipeline's run")
    parser.add_argument("--keep", action="store_true", help="leave everything running")
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="folder for files of the trial")
    found = parser.parse_args()
    if found.plain is None:
        found.plain = [part for part, crd in OPERATORS.items() if not has_crd(crd)]
    found.plain = [part for part in found.plain if part != "none"]
    return found


def main() -> None:
    """Run the trial; exit code 1 and one message where something is not as it must be."""
    try:
        asked = options()
        trial = Trial(asked)
        if not has_crd("sparkapplications.sparkoperator.k8s.io"):
            raise TrialFailed("this cluster has no Spark operator: install it, see README.md")
        with trial.step("Images"):
            trial.images()
        with trial.step(f"Plain pods: {', '.join([*trial.plain, 'warehouse'])}"):
            trial.start_parts()
        with trial.step("Chart ticklake"):
            trial.install()
        with trial.step("Chart airflow"):
            trial.install_airflow()
        with trial.step("helm test"):
            trial.helm_test()
        with trial.step(f"DAG {DAG}"):
            run_id = trial.pipeline()
        with trial.step("Rows in the lake and the warehouse"):
            trial.count(run_id)
        with trial.step("Live ticks"):
            trial.live()
        with trial.step("Upgrade"):
            trial.upgrade()
        if not asked.keep:
            with trial.step("Removal"):
                trial.remove()
    except TrialFailed as failure:
        print(f"e2e: {failure}", file=sys.stderr)
        sys.exit(1)
    print("e2e: passed")


if __name__ == "__main__":
    main()
