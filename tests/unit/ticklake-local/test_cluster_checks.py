"""What `ticklake doctor --cluster` makes of a cluster's answers, which a server here gives."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kubernetes_server import Answer, api_groups, serving

from ticklake_local.main import main

OLD = "2026-01-01T00:00:00Z"
GROUPS = {"kafka.strimzi.io": "v1", "minio.min.io": "v2", "sparkoperator.k8s.io": "v1beta2"}
READY = {"conditions": [{"type": "Ready", "status": "True"}]}

Answers = dict[str, list[dict[str, Any]]]


def named(name: str, created: str = OLD, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": created}, **more}


def pod(name: str, *containers: dict[str, Any], **status: Any) -> dict[str, Any]:
    common = {"image": "ticklake/x:1", "imageID": "", "ready": False, "restartCount": 0, "lastState": {}}
    statuses = [{"name": "main", **common, **container} for container in containers]
    return named(name, spec={"containers": []}, status={"containerStatuses": statuses, **status})


def well() -> Answers:
    now = datetime.now(UTC).isoformat()
    return {
        "kafkas": [named("ticklake", status=READY)],
        "kafkatopics": [named("ticks", status=READY), named("new", now)],
        "kafkausers": [named("archive-ticks", status=READY)],
        "tenants": [named("ticklake", status={"currentState": "Initialized"})],
        "sparkapplications": [
            named("live", status={"applicationState": {"state": "RUNNING"}}),
            named("daily", now),
        ],
        "configmaps": [],
        "jobs": [named("ticklake-provision-store-1", status={"succeeded": 1})],
        "pods": [pod("archive-ticks-0", {"state": {"running": {}}})],
    }


@pytest.fixture
def doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, list[str]]]]:
    """Exit code and lines of `ticklake doctor --cluster` on a cluster with the answers given."""
    answers: Answers = {}
    groups: dict[str, str] = {}
    status = {"code": 200}

    def answer(path: str) -> Answer:
        *place, name = path.split("/")
        if name == "apis":
            return status["code"], api_groups(f"{group}/{version}" for group, version in groups.items())
        assert place[-2:] == ["namespaces", "ticklake"]
        return status["code"] if name == "pods" else 200, {"kind": "List", "items": answers[name]}

    with serving(answer) as address:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": address}}],
            "users": [{"name": "me", "user": {"token": "t"}}],
        }
        (tmp_path / "config").write_text(json.dumps(config))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))

        def run(changed: Answers, known: dict[str, str] = GROUPS, code: int = 200) -> tuple[int, list[str]]:
            answers.update(well() | changed)
            groups.update(known)
            status["code"] = code
            with pytest.raises(SystemExit) as ended:
                main(["doctor", "--cluster"])
            output = capsys.readouterr()
            return int(ended.value.code or 0), (output.out + output.err).splitlines()

        yield run


def test_a_cluster_that_is_well(doctor: Callable[..., tuple[int, list[str]]]) -> None:
    code, lines = doctor({})
    assert (code, lines[-1]) == (0, "Nothing is wrong")
    assert len(lines) == 9
    assert all(line.startswith("✓ ") for line in lines[:-1])


WAITING = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "…"}}}
CRASHED = {
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}},
}
KILLED = {
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
}
UNREADY = {"state": {"running": {}}, "started": True}
NO_ROOM = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: Insufficient memory."}]


def unready(since: str) -> list[dict[str, str]]:
    return [{"type": "Ready", "status": "False", "lastTransitionTime": since}]


@pytest.mark.parametrize(
    ("changed", "line", "remedy"),
    [
        (
            {"kafkausers": [named("archive-ticks", status={"conditions": [{"type": "NotReady", "status": "True"}]})]},
            "✗ Kafka users: archive-ticks: no operator has given it a state",
            "kubectl -n ticklake describe kafkauser archive-ticks",
        ),
        (
            {
                "kafkas": [
                    named("k", status={"conditions": [{"type": "Ready", "status": "False", "message": "no volume"}]})
                ]
            },
            "✗ Kafka: k: no volume",
            "kubectl -n ticklake describe kafka k",
        ),
        (
            {"tenants": [named("t", status={"currentState": "Provisioning MinIO"})]},
            "✗ store: t: Provisioning MinIO",
            "kubectl -n ticklake describe tenant t",
        ),
        (
            {"sparkapplications": [named("daily")]},
            "✗ Spark applications: daily: no operator has given it a state",
            "kubectl -n spark-operator logs deploy/spark-operator-controller: does it watch ticklake "
            "(spark.jobNamespaces)?",
        ),
        (
            {
                "sparkapplications": [
                    named("daily", status={"applicationState": {"state": "FAILED", "errorMessage": "exit code 1"}})
                ]
            },
            "✗ Spark applications: daily: FAILED: exit code 1",
            "kubectl -n ticklake logs daily-driver",
        ),
        (
            {
                "jobs": [
                    named("p", status={"conditions": [{"type": "Failed", "status": "True", "message": "too often"}]})
                ]
            },
            "✗ jobs: p: too often",
            "kubectl -n ticklake logs job/p",
        ),
        (
            {"pods": []},
            "✗ pods: none in ticklake",
            "`make deploy` installs the platform; another namespace: --cluster NAME",
        ),
        (
            {"pods": [pod("a", conditions=NO_ROOM)]},
            "✗ pods: a: no node has room for it: 0/1 nodes are available: Insufficient memory.",
            "kubectl -n ticklake describe pod a",
        ),
        (
            {"pods": [pod("a", WAITING)]},
            "✗ pods: a: the image ticklake/x:1 cannot be pulled",
            "kubectl -n ticklake describe pod a",
        ),
        (
            {"pods": [pod("a", CRASHED)]},
            "✗ pods: a: main ends again and again, last with exit code 2",
            "kubectl -n ticklake logs a -c main --previous",
        ),
        (
            {"pods": [pod("a", CRASHED | {"state": {"running": {}}}, conditions=unready(OLD))]},
            "✗ pods: a: main ends again and again, last with exit code 2",
            "kubectl -n ticklake logs a -c main --previous",
        ),
        (
            {"pods": [pod("a", KILLED)]},
            "✗ pods: a: main took more memory than its limit",
            "kubectl -n ticklake describe pod a; raise its memory in the values",
        ),
        (
            {"pods": [pod("a", {"state": {"terminated": {"exitCode": 1, "reason": "Error"}}})]},
            "✗ pods: a: main ended with exit code 1",
            "kubectl -n ticklake logs a -c main",
        ),
        (
            {"pods": [pod("a", UNREADY, conditions=unready(OLD))]},
            "✗ pods: a: main runs but is not ready",
            "kubectl -n ticklake logs a -c main",
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(
    doctor: Callable[..., tuple[int, list[str]]], changed: Answers, line: str, remedy: str
) -> None:
    code, lines = doctor(changed)
    assert (code, lines[-1]) == (1, "1 thing is wrong")
    assert lines[lines.index(line) + 1].strip() == remedy


def test_a_missing_operator(doctor: Callable[..., tuple[int, list[str]]]) -> None:
    code, lines = doctor({}, known={"minio.min.io": "v2", "sparkoperator.k8s.io": "v1beta2"})
    assert code == 1
    assert lines[0] == "✗ operators: no resources of kafka.strimzi.io are known"
    assert not any(line.startswith(("✓ Kafka", "✗ Kafka")) for line in lines)


def test_a_pod_that_starts_or_was_ready_just_now_is_not_in_trouble(
    doctor: Callable[..., tuple[int, list[str]]],
) -> None:
    now = datetime.now(UTC).isoformat()
    pods = [
        pod("starts", UNREADY | {"started": False}, conditions=unready(OLD)),
        pod("was-ready", UNREADY, conditions=unready(now)),
        pod("ended-once", CRASHED | {"state": {"running": {}}}, conditions=unready(now)),
    ]
    assert doctor({"pods": pods})[0] == 0


@pytest.mark.parametrize(
    ("servers", "endpoint", "missing"),
    [
        ("kafka.example.com:9092", "https://s3.example.com", set()),
        ("ticklake-kafka-bootstrap.ticklake.svc:9092", "https://s3.example.com", {"kafka.strimzi.io"}),
        ("kafka.example.com:9092", "https://minio.ticklake.svc", {"minio.min.io"}),
    ],
)
def test_an_external_part_needs_no_operator(
    doctor: Callable[..., tuple[int, list[str]]], servers: str, endpoint: str, missing: set[str]
) -> None:
    settings = {"TICKLAKE_KAFKA_BOOTSTRAP_SERVERS": servers, "TICKLAKE_STORE_ENDPOINT": endpoint}
    maps = [named("ticklake-tasks", data={}), named("ticklake-settings", data=settings)]
    code, lines = doctor({"configmaps": maps}, known={"sparkoperator.k8s.io": "v1beta2"})
    assert code == bool(missing)
    wrong = {line.split(" of ")[1].split()[0] for line in lines if line.startswith("✗ operators")}
    assert wrong == missing


@pytest.mark.parametrize(("code", "ends_with"), [(403, 2), (500, 1)])
def test_a_cluster_that_refuses_or_fails(
    doctor: Callable[..., tuple[int, list[str]]], code: int, ends_with: int
) -> None:
    assert doctor({}, code=code)[0] == ends_with


def test_no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--cluster"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("ticklake: no cluster to ask (")
