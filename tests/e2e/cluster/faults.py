"""What breaks in practice, done on purpose: each function breaks one thing and sees the platform recover."""

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.e2e.cluster import checks
from tests.e2e.cluster.page import Page
from tests.e2e.cluster.tools import run, until

if TYPE_CHECKING:
    from tests.e2e.cluster.trial import Trial

LIVE_TOPIC = "ticklake-stock-market-realtime"
_DRIVER = "spark-role=driver,app.kubernetes.io/component=stream-analytics"
_ROLL = "strimzi.io/manual-rolling-update"
CHECKPOINT = "stages.stream-analytics.env.TICKLAKE_WINDOWS_CHECKPOINT"


def of(trial: "Trial") -> dict[str, Callable[["Trial"], None]]:
    """The faults that can be tried, by what they are; those of operators only where these run the part."""
    found: dict[str, Callable[[Trial], None]] = {
        "Every part is restarted in turn": restarted,
        "A task's pod is lost": lost_pod,
    }
    if "store" not in trial.plain:
        found["A key of the store is rotated"] = rotated_store_key
    if "kafka" not in trial.plain:
        found["A password of Kafka is rotated"] = rotated_kafka_password
        found["The live topic is recreated"] = recreated_topic
    if not trial.plain:
        found["Uninstalled, and installed again over the data"] = reinstalled
    return found


def restarted(trial: "Trial") -> None:
    """Every part is restarted as its documentation says: each live tick is archived once, and in its windows."""
    with trial.store() as store:
        before = len(checks.ticks(store))
    pods = _long_running(trial)
    restarts = [
        ("rollout", "restart", "deployment", "-l", "app.kubernetes.io/instance=ticklake,!strimzi.io/cluster"),
        ("rollout", "restart", "deployment,statefulset", "-l", "release=airflow"),
        ("rollout", "restart", "statefulset/ticklake-catalog"),
        ("delete", "pod", "ticklake-stream-analytics-driver"),
    ]
    for command in restarts:
        trial.platform.kubectl(*command)
        _all_rolled_out(trial)
    if "store" not in trial.plain:
        for name in reversed(_pods(trial, "v1.min.io/tenant")):
            trial.platform.kubectl("delete", name)
            until(name, 300, lambda name=name: name in _pods(trial, "v1.min.io/tenant"))  # type: ignore[misc]
            trial.platform.kubectl("wait", name, "--for=condition=Ready", "--timeout=300s")
    if "kafka" not in trial.plain:
        trial.platform.kubectl("annotate", "strimzipodset", "--all", f"{_ROLL}=true")
        # The operator takes the annotation away when it has restarted the pods, one after another.
        asked = ("get", "strimzipodset", "-o", "yaml")
        until("restarted brokers", 900, lambda: _ROLL not in trial.platform.kubectl(*asked), pause=3)
        trial.platform.kubectl("wait", "kafka/ticklake", "--for=condition=Ready", "--timeout=600s")
    until("stream-analytics", 600, lambda: trial.application_state() == "RUNNING", pause=3)
    checks.same("pods that were not restarted", pods & _long_running(trial), set())
    with trial.store() as store:
        until("archived ticks after it", 400, lambda: len(checks.ticks(store)) > before + 100, pause=5)
        print(
            f"  {until('closed windows', 1800, lambda: checks.windows(trial.platform, store), pause=10)} closed windows"
        )
    _page_recovers(trial)


def _long_running(trial: "Trial") -> set[tuple[str, str]]:
    """Name and uid of each pod that serves; Kafka's entity operator and Airflow's database are left alone."""
    return {
        (pod["metadata"]["name"], pod["metadata"]["uid"])
        for pod in trial.platform.get("pods")["items"]
        if pod["status"]["phase"] == "Running"
        and pod["metadata"].get("ownerReferences", [{}])[0].get("kind") != "Job"
        and not re.search("entity-operator|airflow-postgresql", pod["metadata"]["name"])
    }


def _all_rolled_out(trial: "Trial") -> None:
    for name in trial.platform.kubectl("get", "deployment,statefulset", "-o", "name").split():
        trial.platform.kubectl("rollout", "status", name, "--timeout=600s")


def lost_pod(trial: "Trial") -> None:
    """A pod is deleted in the middle of its task: the task is tried again, with the same run and the same rows."""
    from tests.e2e.cluster.trial import ASKED, DAG

    with trial.airflow() as airflow:
        until(f"DAG {DAG}", 180, lambda: airflow.has_dag(DAG))
        dag_run = airflow.trigger(DAG, **ASKED)
        label = "ticklake/program=consume-historical"
        until("the pod of consume-historical", 300, lambda: _pods(trial, label), pause=0.5)
        trial.platform.kubectl("delete", "pod", "-l", label, "--grace-period=0", "--force")
        trial.count(trial.finish(airflow, dag_run, retried="consume_historical_data"))


def _pods(trial: "Trial", label: str) -> list[str]:
    return trial.platform.kubectl("get", "pods", "-l", label, "-o", "name").split()


def rotated_store_key(trial: "Trial") -> None:
    """The page's key of the store is renewed as the chart's README says; the page recovers by itself."""
    name, restarts = "ticklake-store-dashboard", _restarts(trial, "dashboard")
    before = trial.secret(name, "secret-key")
    trial.platform.kubectl("delete", "secret", name)
    trial.install()
    checks.same("the key is another", trial.secret(name, "secret-key") != before, True)
    _ended(trial, "dashboard", restarts)
    _page_recovers(trial)


def rotated_kafka_password(trial: "Trial") -> None:
    """Kafka passwords are renewed as the chart's README says, and brokers restart: ticks and page go on."""
    services = ("stream-ticks", "archive-ticks", "dashboard")
    restarts = {stage: _restarts(trial, stage) for stage in services}
    for stage in (*services, "stream-analytics"):
        name = f"ticklake-{stage}"
        before = trial.secret(name, "password")
        trial.platform.kubectl("delete", "secret", name)
        until(f"the new password of {stage}", 120, lambda name=name: trial.platform.secret_of(name))  # type: ignore[misc]
        checks.same("the password is another", trial.secret(name, "password") != before, True)
    _restart_brokers(trial)
    for stage in services:
        _ended(trial, stage, restarts[stage])
    with trial.store() as store:
        before_restart = checks.archived(store)
        until("archived ticks", 400, lambda: checks.archived(store) > before_restart + 50, pause=3)
    _page_recovers(trial)
    until("stream-analytics", 600, lambda: trial.application_state() == "RUNNING", pause=3)


def _restarts(trial: "Trial", component: str) -> int:
    """How often containers of a service's pods ended and were started again."""
    path = "jsonpath={.items[*].status.containerStatuses[*].restartCount}"
    label = f"app.kubernetes.io/component={component}"
    return sum(map(int, trial.platform.kubectl("get", "pods", "-l", label, "-o", path).split()))


def _ended(trial: "Trial", component: str, restarts: int) -> None:
    """Wait until a service that had `restarts` ended, as what it signs in with is rejected."""
    until(f"an end of {component}", 300, lambda: _restarts(trial, component) > restarts, pause=3)


def _restart_brokers(trial: "Trial") -> None:
    label = "strimzi.io/name=ticklake-kafka"
    trial.platform.kubectl("delete", "pod", "-l", label)
    trial.platform.kubectl("wait", "kafka/ticklake", "--for=condition=Ready", "--timeout=600s")
    until("the brokers", 300, lambda: _pods(trial, label))
    trial.platform.kubectl("wait", "pod", "-l", label, "--for=condition=Ready", "--timeout=600s")


def _page_recovers(trial: "Trial") -> None:
    trial.platform.kubectl("rollout", "status", "deployment/ticklake-dashboard", "--timeout=300s")

    def well() -> bool:
        with trial.platform.forwarded("svc/ticklake-dashboard", 80) as port:
            return Page(f"http://127.0.0.1:{port}").healthy()

    until("the page with the store and the broker", 400, well, pause=5)


def recreated_topic(trial: "Trial") -> None:
    """The live topic is deleted and made again: a clear line, the documented reset, and ticks in both chains."""
    with trial.store() as store:
        before = checks.archived_by_topic(store)
        trial.platform.kubectl("delete", "kafkatopic", LIVE_TOPIC)
        trial.install()
        trial.platform.kubectl("wait", f"kafkatopic/{LIVE_TOPIC}", "--for=condition=Ready", "--timeout=300s")
        until("the line that the topic was recreated", 600, lambda: "was recreated" in _driver_log(trial), pause=3)
        name = f"reset-{int(time.time())}"
        trial.install("--set", f"{CHECKPOINT}={name}")
        until("a driver with other checkpoints", 300, lambda: _checkpoint_of_driver(trial) == name, pause=3)
        until("stream-analytics", 600, lambda: trial.application_state() == "RUNNING", pause=3)

        def grown() -> bool:
            now = checks.archived_by_topic(store)
            return len(now) == len(before) + 1 and all(now[topic] >= rows for topic, rows in before.items())

        until("a chain of the new topic beside the old one", 600, grown, pause=5)


def _driver_log(trial: "Trial") -> str:
    return trial.platform.kubectl("logs", "-l", _DRIVER, "--tail=-1")


def _checkpoint_of_driver(trial: "Trial") -> str:
    path = '{.items[*].spec.containers[0].env[?(@.name=="TICKLAKE_WINDOWS_CHECKPOINT")].value}'
    return trial.platform.kubectl("get", "pods", "-l", _DRIVER, "-o", f"jsonpath={path}")


def reinstalled(trial: "Trial") -> None:
    """Both releases go and come back; every row, run, tick and password is still there, and ticks go on."""
    with trial.store() as store:
        ticks = checks.archived_by_topic(store)
    with trial.airflow() as airflow:
        runs = airflow.runs("stock_market_pipeline")
    checkpoint = trial.reset_checkpoint()
    for release in ("airflow", "ticklake"):
        run("helm", "uninstall", release, "-n", trial.platform.namespace, "--wait")
    running = ("get", "pods", "--field-selector=status.phase=Running", "-o", "name")
    until("the end of all pods", 300, lambda: not trial.platform.kubectl(*running).strip(), pause=3)
    trial.install(*checkpoint)
    trial.install_airflow()
    with trial.airflow() as airflow:
        checks.same("runs that Airflow knows", airflow.runs("stock_market_pipeline"), runs)
    with trial.store() as store:

        def grown() -> bool:
            now = checks.archived_by_topic(store)
            return now.keys() == ticks.keys() and any(now[topic] > rows for topic, rows in ticks.items())

        until("more ticks of the same topic", 400, grown, pause=5)
    trial.live()
    trial.count(trial.pipeline())
