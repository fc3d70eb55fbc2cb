"""One trial: what it installs, runs and checks, a method each."""

import argparse
import json
import secrets
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any

from tests.e2e.cluster import checks, parts, watch
from tests.e2e.cluster.airflow import Airflow
from tests.e2e.cluster.needs import airflow_chart
from tests.e2e.cluster.page import Page
from tests.e2e.cluster.tools import ROOT, Cluster, TrialFailed, resolves_here, run, until

HERE = Path(__file__).parent
CHART = ROOT / "charts/ticklake"
DAG = "stock_market_pipeline"
# Recorded prices would do as well; Yahoo's change, and could not be counted beforehand.
ASKED = {"date": "2024-06-28", "source": "simulated"}
IMAGES = (
    "fetch-historical",
    "consume-historical",
    "load-warehouse",
    "provision-store",
    "stream-ticks",
    "archive-ticks",
    "tick-bars",
    "lake-maintenance",
    "market-alerts",
    "batch-exporter",
    "dashboard",
    "spark-apps",
    "airflow-dags",
    "local-servers",
)


class Trial:
    """One trial: its namespaces, its choice of parts, and the seconds of each step."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.platform = Cluster(options.namespace)
        self.parts = Cluster(f"{options.namespace}-parts")
        self.plain: list[str] = options.plain

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say what is done and how long it took."""
        print(f"{what} …", flush=True)
        began = time.monotonic()
        yield
        print(f"  done in {time.monotonic() - began:.0f} s", flush=True)

    def images(self) -> None:
        """Build the images and hand them to the nodes."""
        if self.options.skip_build:
            return
        run("make", "-C", str(ROOT), "images", seconds=3600)
        for image in IMAGES:
            run(*shlex.split(self.options.load), f"ticklake/{image}:{self.options.tag}", seconds=600)

    def start_parts(self) -> None:
        """Kafka and store as plain pods, where no operator runs them, and Prometheus; what runs already is kept."""
        self.platform.ensure_namespace()
        self.parts.ensure_namespace()
        keys = self.parts.secret_of("store-keys") or {"access-key": "trial", "secret-key": secrets.token_hex(16)}
        self.platform.secret("trial-store-keys", **keys)
        image = f"ticklake/local-servers:{self.options.tag}"
        # A pod that has ended, with its node say, does not come back by itself.
        self.parts.kubectl("delete", "pods", "--field-selector=status.phase!=Running", "--wait")
        self.parts.kubectl("delete", "jobs", "--all", "--wait")
        self.parts.apply(json.dumps(parts.manifests(self.plain, self.parts.namespace, image, keys)))
        for part in self.plain:
            self.parts.kubectl("wait", "--for=condition=Ready", f"pod/{part}", "--timeout=300s")
            self.parts.kubectl("wait", "--for=condition=Complete", f"job/prepare-{part}", "--timeout=300s")
        if self.options.monitoring:
            chosen = {"prometheus": self.options.prometheus, "alertmanager": self.options.alertmanager}
            manifest = self._filled("prometheus.yaml", platform=self.platform.namespace, **chosen)
            run("kubectl", "apply", "-f", "-", text=manifest)

    def _filled(self, name: str, **more: str) -> str:
        return Template((HERE / name).read_text()).substitute(namespace=self.parts.namespace, **more)

    def install(self, *more: str) -> None:
        """The platform's chart with the values of a profile and of what the cluster has or lacks."""
        self.platform.ensure_namespace()
        names = [*self.plain, *(["monitoring"] if self.options.monitoring else [])]
        with tempfile.TemporaryDirectory() as folder:
            files = [CHART / f"values-{self.options.profile}.yaml"]
            if self.options.profile == "production":
                files.append(HERE / "values-one-node.yaml")
            for name in names:
                files.append(Path(folder) / f"{name}.yaml")
                files[-1].write_text(self._filled(f"values-{name}.yaml"))
            kept = () if more else self.reset_checkpoint()
            # The last full hour has no tick, as they began in this one.
            silent = "stages.tick-bars.env.TICKLAKE_BARS_MAX_SILENCE_SECONDS=0"
            given = [*map(str, files), *self.options.values]
            self._helm("ticklake", [str(CHART)], given, "--set-string", silent, *kept, *more)

    def reset_checkpoint(self) -> Sequence[str]:
        """The checkpoint that an earlier step or trial chose by a reset, which has to stay set."""
        try:
            values = json.loads(run("helm", "get", "values", "ticklake", "-n", self.platform.namespace, "-o", "json"))
            env: dict[str, str] = values["stages"]["stream-analytics"]["env"]
        except (TrialFailed, KeyError, TypeError):
            return ()
        return [
            word for name, value in env.items() for word in ("--set", f"stages.stream-analytics.env.{name}={value}")
        ]

    def install_airflow(self) -> None:
        """Airflow's own chart with the platform's values."""
        self._helm("airflow", airflow_chart(), [str(ROOT / "charts/values-airflow.yaml"), *self.options.airflow_values])

    def _helm(self, release: str, chart: Sequence[str], files: Sequence[str], *more: str) -> None:
        values = [word for file in files for word in ("-f", file)]
        command = ("helm", "upgrade", "--install", release, *chart, *values, *more, "-n", self.platform.namespace)
        run(*command, "--wait", "--timeout=15m", seconds=1000)

    def helm_test(self) -> None:
        """The chart's own test: a pod that writes and reads back."""
        run("helm", "test", "ticklake", "-n", self.platform.namespace, "--timeout=5m")

    @contextmanager
    def airflow(self) -> Iterator[Airflow]:
        """Airflow's API, signed in as the Secret says."""
        password = self.secret("ticklake-airflow-credentials", "admin-password")
        with self.platform.forwarded("svc/airflow-api-server", 8080) as port:
            yield Airflow(f"http://127.0.0.1:{port}", password)

    def pipeline(self) -> str:
        """Trigger the DAG, wait until it is green, print its tasks; returns the stages' run id."""
        with self.airflow() as airflow:
            until(f"DAG {DAG}", 180, lambda: airflow.has_dag(DAG))
            checks.same("import errors", airflow.import_errors(), [])
            return self.finish(airflow, airflow.trigger(DAG, **ASKED))

    def finish(self, airflow: Airflow, dag_run: str, *, retried: str | None = None) -> str:
        """Wait for a run of the DAG and check it; `retried` is the one task that had to be tried again."""
        tasks = self._green(airflow, DAG, dag_run)
        total = sum(checks.EXPECTED.values())
        for task in tasks:
            # A task that only a retry brought to green has a fault that the next run may meet again.
            attempts = 2 if task["task_id"] == retried else 1
            checks.same(f"attempts of {task['task_id']}", task["try_number"], attempts)
            result = airflow.result(DAG, dag_run, task["task_id"])
            counts = (result["rows_in"], result["rows_out"], result["quarantined"])
            checks.same(f"rows of {task['task_id']} (XCom)", counts, (total, total, 0))
        return str(result["run_id"])

    def _green(self, airflow: Airflow, dag: str, dag_run: str) -> list[dict[str, Any]]:
        """Wait for a run of a DAG, print its tasks and return them; raises TrialFailed unless all are green."""
        state = airflow.wait(dag, dag_run, self.options.timeout)
        # Some run at the same time.
        tasks = sorted(airflow.tasks(dag, dag_run), key=lambda task: task["end_date"] or "~")
        for seconds, task in zip(elapsed(tasks), tasks, strict=True):
            print(f"  {task['state'] or '-':8} {seconds:6.1f} s  {task['task_id']}", flush=True)
        if state != "success":
            failed = next((task for task in tasks if task["state"] == "failed"), tasks[-1])
            log = airflow.log(dag, dag_run, failed["task_id"], failed["try_number"])
            raise TrialFailed(f"the run ended as {state}; the log of {failed['task_id']}:\n{log}")
        return tasks

    def other_dags(self) -> None:
        """Windows from the archive are those of the stream; live tables reach the warehouse; the lake is maintained."""
        with self.store() as store:
            closed = until("closed windows", 1800, lambda: checks.windows(self.platform, store), pause=10)
        now = datetime.now(UTC)
        span = {"from": (now - timedelta(days=1)).isoformat(), "to": now.isoformat()}
        with self.airflow() as airflow:
            for dag, conf in (("rebuild_windows", span), ("live_archive_hourly", {}), ("housekeeping", {})):
                dag_run = airflow.trigger(dag, **conf)
                self._green(airflow, dag, dag_run)
                if dag == "rebuild_windows":
                    result = airflow.result(dag, dag_run, dag)
                    checks.same("windows that differ", (result["new"], result["revised"]), (0, 0))
                    checks.same("windows that are as they were", result["unchanged"] >= closed, True)
        password = self.secret("ticklake-warehouse", "password")
        with self.platform.forwarded("svc/ticklake-warehouse", 8080) as port:
            checks.live_windows(port, password, closed)

    def count(self, run_id: str) -> None:
        """Every row in every place."""
        with self.store() as store:
            checks.lake(self.platform, store, run_id)
        password = self.secret("ticklake-warehouse", "password")
        with self.platform.forwarded("svc/ticklake-warehouse", 8080) as port:
            checks.warehouse(port, password, run_id)

    def live(self) -> None:
        """The ticks of a live minute: archived without gap, windows on their way."""
        with self.store() as store:
            before = until("first archived ticks", 300, lambda: checks.archived(store), pause=3)
            until("more archived ticks", 240, lambda: checks.archived(store) > before + 50, pause=3)
        until("stream-analytics", 300, lambda: self.application_state() == "RUNNING", pause=3)

    def application_state(self) -> str:
        """State of streaming analytics, as its operator has it."""
        found = self.platform.get("sparkapplication", "ticklake-stream-analytics")
        return str(found.get("status", {}).get("applicationState", {}).get("state", ""))

    def dashboard(self, run_id: str) -> None:
        """The page, the run and its bars on it, and live prices."""
        with self.platform.forwarded("svc/ticklake-dashboard", 80) as port:
            page = Page(f"http://127.0.0.1:{port}")
            page.check_page()
            page.check_batch(run_id)
            rules = page.check_alert_rules()
            print(f"  a price reaches the stream's reader after {page.check_live():.2f} s; {rules} alert rules")

    def monitoring(self) -> None:
        """Every target answers, every rule is evaluated, and an alert gets to the page and away again."""
        jobs = watch.SERVICES | {job for part, job in watch.OPERATED.items() if part not in self.plain}
        known = self.platform.get("prometheusrules")["items"]
        rules = [rule for each in known for group in each["spec"]["groups"] for rule in group["rules"]]
        with (
            self.parts.forwarded("svc/prometheus-operated", 9090) as port,
            self.platform.forwarded("svc/ticklake-dashboard", 80) as page_port,
        ):
            prometheus, page = watch.Prometheus(f"http://127.0.0.1:{port}"), Page(f"http://127.0.0.1:{page_port}")
            prometheus.wait_for_targets(jobs)
            prometheus.check_rules({rule["alert"] for rule in rules if "alert" in rule})
            for panel in prometheus.empty_panels(ROOT / "charts/ticklake/files/dashboards", self.platform.namespace):
                print(f"  no answer yet: {panel}")
            missing, name = ("TicklakeTargetMissing", "stream-ticks"), "deployment/ticklake-stream-ticks"
            checks.same("alert before anything is missing", missing in prometheus.firing(), False)
            self.platform.kubectl("scale", name, "--replicas=0")
            until("the alert", 300, lambda: missing in prometheus.firing(), pause=3)
            until("the alert on the page", 120, lambda: missing[0] in page.platform_alerts(), pause=3)
            self.platform.kubectl("scale", name, "--replicas=1")
            until("the alert's end", 300, lambda: missing not in prometheus.firing(), pause=3)
            until("the alert's end on the page", 420, lambda: missing[0] not in page.platform_alerts(), pause=3)

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

    def secret(self, name: str, key: str) -> str:
        """A value of a Secret."""
        return self.platform.secret_of(name)[key]

    @contextmanager
    def store(self) -> Iterator[checks.ObjectStore]:
        """The lake, as its administrator."""
        if "store" in self.plain:
            keys = [self.secret("trial-store-keys", key) for key in ("access-key", "secret-key")]
            with self.parts.forwarded("svc/store", 9000) as port:
                yield checks.store_at(port, *keys)
        else:
            keys = [self.secret("ticklake-store-admin", key) for key in ("access-key", "secret-key")]
            if self.options.profile == "kind":
                with self.platform.forwarded("svc/minio", 80) as port:
                    yield checks.store_at(port, *keys)
                return
            name = f"minio.{self.platform.namespace}.svc"
            authority = self.platform.get("configmap", "kube-root-ca.crt")["data"]["ca.crt"]
            with (
                self.platform.forwarded("svc/minio", 443) as port,
                resolves_here(name),
                tempfile.NamedTemporaryFile("w", suffix=".crt") as ca,
            ):
                ca.write(authority)
                ca.flush()
                yield checks.store_at(port, *keys, endpoint=f"https://{name}", ca_file=Path(ca.name))


def elapsed(tasks: list[dict[str, Any]]) -> list[float]:
    """Seconds from the end of the task before to the end of each: what Airflow calls a duration leaves out waiting."""
    ends = [datetime.fromisoformat(task["end_date"]) for task in tasks if task["end_date"]]
    began = datetime.fromisoformat(tasks[0]["queued_when"] or tasks[0]["start_date"])
    times = [(end - before).total_seconds() for before, end in zip([began, *ends], ends, strict=False)]
    return times + [0.0] * (len(tasks) - len(ends))
