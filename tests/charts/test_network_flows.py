"""The connections that the policies allow are those that the platform needs, neither more nor fewer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from chart_flows import Endpoint, Flow, flows
from chart_objects import SNOWFLAKE, Manifest, find, pods, render, users

KAFKA_PODS = {"strimzi.io/cluster": "ticklake", "strimzi.io/kind": "Kafka"}
AIRFLOW = {"tier": "airflow", "release": "airflow"}

OTHERS = {
    "broker": Endpoint(KAFKA_PODS | {"strimzi.io/name": "ticklake-kafka"}),
    "broker-2": Endpoint(KAFKA_PODS | {"strimzi.io/name": "ticklake-kafka"}),
    "entity-operator": Endpoint(KAFKA_PODS | {"strimzi.io/name": "ticklake-entity-operator"}),
    "store": Endpoint({"v1.min.io/tenant": "ticklake-store"}),
    "store-2": Endpoint({"v1.min.io/tenant": "ticklake-store"}),
    "scheduler": Endpoint(AIRFLOW | {"component": "scheduler"}),
    "dag-processor": Endpoint(AIRFLOW | {"component": "dag-processor"}),
    "api-server": Endpoint(AIRFLOW | {"component": "api-server"}),
    "postgresql": Endpoint({"app.kubernetes.io/name": "postgresql", "app.kubernetes.io/instance": "airflow"}),
    "stranger": Endpoint({"app": "stranger"}),
    "dns": Endpoint({"k8s-app": "kube-dns"}, "kube-system"),
    "prometheus": Endpoint({"app.kubernetes.io/name": "prometheus"}, "monitoring"),
    "minio-operator": Endpoint({"name": "minio-operator"}, "minio-operator"),
    "stranger elsewhere": Endpoint({"name": "minio-operator"}, "default"),
    "kubernetes": Endpoint(address="10.96.0.1"),
    "neighbour": Endpoint(address="10.1.2.3"),
    "internet": Endpoint(address="93.184.216.34"),
    # Where clouds serve a node's credentials, and its containers'.
    "metadata": Endpoint(address="169.254.169.254"),
    "container credentials": Endpoint(address="169.254.170.2"),
}
"""What is in the cluster and around it besides our own pods."""

OUTSIDE = ("kubernetes", "neighbour", "internet")
BROKERS = ("broker", "broker-2")

PORTS = [
    ("TCP", port)
    for port in (
        22,
        53,
        80,
        443,
        465,
        587,
        4040,
        5432,
        6443,
        7078,
        7079,
        7080,
        8080,
        8443,
        8793,
        8794,
        9000,
        9090,
        9091,
        9092,
        9093,
        9094,
        9100,
        9404,
        18080,
    )
] + [("UDP", 53)]

KAFKA_USERS = (
    *users("topic"),
    "stream-ticks",
    "archive-ticks",
    "stream-analytics driver",
    "stream-analytics executor",
    "check-platform",
    "dashboard",
    "market-alerts",
)
STORE_USERS = (
    *users(),
    "held-symbol",
    "load-live",
    "tick-bars",
    "apply-retention",
    "maintain-tables",
    "stream-ticks",
    "archive-ticks",
    "stream-analytics driver",
    "stream-analytics executor",
    "rebuild-windows driver",
    "rebuild-windows executor",
    "check-platform",
    "dashboard",
)
CATALOG_USERS = (
    *users("table"),
    "load-live",
    "tick-bars",
    "maintain-tables",
    "stream-ticks",
    "stream-analytics driver",
    "stream-analytics executor",
    "rebuild-windows driver",
    "rebuild-windows executor",
    "dashboard",
)
WAREHOUSE_USERS = (*users("warehouse"), "load-live")
ASKS_THE_INTERNET = ("fetch-historical", "stream-ticks")
SPARK_APPS = ("daily-analytics", "stream-analytics", "rebuild-windows")
API_USERS = (
    *(f"{app} driver" for app in SPARK_APPS),
    "scheduler",
    "entity-operator",
    "store",
    "store-2",
    "kafka-cluster-id",
    *BROKERS,
)
METRICS = ("stream-ticks", "archive-ticks", "stream-analytics driver", "dashboard", "market-alerts")
AIRFLOW_PODS = ("scheduler", "dag-processor", "api-server")


def _table(listener: int) -> set[Flow]:
    """What the platform needs with its own Kafka, store and catalog, and Snowflake."""
    table = {(user, broker, f"TCP/{listener}") for user in KAFKA_USERS for broker in BROKERS}
    table |= {(a, b, f"TCP/{port}") for a in BROKERS for b in BROKERS for port in (9090, 9091) if a != b}
    table |= {("entity-operator", broker, "TCP/9091") for broker in BROKERS}
    stores = ("store", "store-2")
    askers = (*STORE_USERS, "provision-store", "minio-operator", *stores)
    table |= {(user, store, "TCP/9000") for user in askers for store in stores if user != store}
    table |= {(user, "catalog", "TCP/5432") for user in CATALOG_USERS}
    table |= {(user, "internet", f"TCP/{port}") for user in WAREHOUSE_USERS for port in (80, 443)}
    table |= {(user, "internet", "TCP/443") for user in ASKS_THE_INTERNET}
    table |= {("market-alerts", "internet", f"TCP/{port}") for port in (443, 465, 587)}
    table |= _api(*API_USERS)
    table |= {("prometheus", user, "TCP/9100") for user in METRICS}
    for app in SPARK_APPS:
        table |= {(f"{app} executor", f"{app} driver", "TCP/7078"), (f"{app} executor", f"{app} driver", "TCP/7079")}
        table |= {(f"{app} driver", f"{app} executor", "TCP/7080")}
    table |= {(user, "postgresql", "TCP/5432") for user in (*AIRFLOW_PODS, "clean-metadata")}
    table |= {(user, "api-server", "TCP/8080") for user in AIRFLOW_PODS if user != "api-server"}
    table.add(("api-server", "scheduler", "TCP/8793"))
    return table


def _api(*users: str) -> set[Flow]:
    # The API server has no labels to name it by: unless its addresses are set, any address on its ports.
    return {(user, to, f"TCP/{port}") for user in users for to in OUTSIDE for port in (443, 6443)}


def _own(objects: list[Manifest]) -> dict[str, Endpoint]:
    found = {}
    for pod in pods(objects):
        role = pod.labels.get("spark-role")
        name = pod.labels["app.kubernetes.io/component"]
        found[f"{name} {role}" if role else name] = Endpoint(pod.labels)
    return found


def _computed(objects: list[Manifest]) -> set[Flow]:
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    endpoints = OTHERS | _own(objects)
    found = flows(policies, endpoints, PORTS)
    names = {flow for flow in found if flow[1] == "dns" and flow[2].endswith("/53")}
    inside = {name for name, each in endpoints.items() if not each.address and each.namespace == "ticklake"}
    assert names == {(name, "dns", port) for name in inside for port in ("TCP/53", "UDP/53")}
    return found - names


def _difference(found: set[Flow], wanted: set[Flow]) -> dict[str, list[Flow]]:
    return {"too much": sorted(found - wanted), "too little": sorted(wanted - found)}


NOTHING: dict[str, list[Flow]] = {"too much": [], "too little": []}


def test_the_flows_with_snowflake(rendered: Callable[[str], list[Manifest]]) -> None:
    assert _difference(_computed(rendered("default")), _table(9093)) == NOTHING


def test_the_flows_in_production(rendered: Callable[[str], list[Manifest]]) -> None:
    wanted = _table(9093)
    wanted |= {
        (user, store, "TCP/9000") for user in ("airflow-backup", "spark-history") for store in ("store", "store-2")
    }
    wanted |= {("airflow-backup", "postgresql", "TCP/5432")}
    wanted.add(("batch-exporter", "catalog", "TCP/5432"))
    wanted |= {("batch-exporter", store, "TCP/9000") for store in ("store", "store-2")}
    wanted |= {("prometheus", store, "TCP/9000") for store in ("store", "store-2")}
    wanted |= {("prometheus", broker, "TCP/9404") for broker in BROKERS}
    wanted |= {("prometheus", f"{app} driver", "TCP/4040") for app in SPARK_APPS}
    wanted |= {("prometheus", "batch-exporter", "TCP/9100")}
    assert _difference(_computed(rendered("production")), wanted) == NOTHING


def test_the_flows_on_kind(rendered: Callable[[str], list[Manifest]]) -> None:
    wanted = {flow for flow in _table(9092) if flow[0] not in WAREHOUSE_USERS or flow[1] != "internet"}
    wanted |= {(user, "warehouse", "TCP/8080") for user in WAREHOUSE_USERS}
    assert _difference(_computed(rendered("kind")), wanted) == NOTHING


def test_the_flows_with_external_parts(rendered: Callable[[str], list[Manifest]]) -> None:
    gone = {
        "broker",
        "broker-2",
        "entity-operator",
        "store",
        "store-2",
        "minio-operator",
        "provision-store",
        "kafka-cluster-id",
        "catalog",
    }
    wanted = {flow for flow in _table(9093) if not {*flow[:2]} & gone}
    wanted = {flow for flow in wanted if not (flow[0] in WAREHOUSE_USERS and flow[1] == "internet")}
    # No peers are set, so they may be anywhere: outside, or in another namespace.
    anywhere = (*OUTSIDE, "prometheus", "dns", "stranger elsewhere")
    wanted |= {(user, to, "TCP/9094") for user in KAFKA_USERS for to in anywhere}
    wanted |= {(user, to, "TCP/8443") for user in STORE_USERS for to in anywhere}
    wanted |= {(user, to, "TCP/5432") for user in CATALOG_USERS for to in anywhere}
    wanted |= {(user, to, "TCP/8080") for user in WAREHOUSE_USERS for to in anywhere}
    found = {flow for flow in _computed(rendered("external")) if not {*flow[:2]} & gone}
    assert _difference(found, wanted) == NOTHING


ENDPOINTS = {
    "": 443,  # Amazon S3
    "https://s3.eu-central-1.amazonaws.com": 443,
    "http://minio.example.com": 80,
    "https://minio.example.com:9443": 9443,
    "http://[2001:db8::1]": 80,
    "https://[2001:db8::1]:9000": 9000,
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_external_store_is_reached_on_its_own_port(helm: Path, endpoint: str) -> None:
    external = ("--set", "store.external.enabled=true", "--set-string", f"store.external.endpoint={endpoint}")
    # A stage that goes nowhere else.
    policy = find(render(helm, *SNOWFLAKE, *external), "NetworkPolicy", "ticklake-apply-retention")
    (rule,) = policy["spec"]["egress"]
    assert [each["port"] for each in rule["ports"]] == [ENDPOINTS[endpoint]]


CATALOGS = {
    "postgresql://catalog.example.com/catalog": 5432,
    "postgresql://catalog.example.com:6432/catalog?sslmode=verify-full": 6432,
    "postgresql://[2001:db8::1]:5433/catalog": 5433,
    "http://polaris.example.com:8181/api/catalog": 8181,
    "https://polaris.example.com/api/catalog": 443,
    "http://polaris.example.com": 80,
}


@pytest.mark.parametrize("uri", CATALOGS)
def test_an_external_catalog_is_reached_on_its_own_port_by_its_users(helm: Path, uri: str) -> None:
    objects = render(
        helm,
        *SNOWFLAKE,
        "--set",
        f"catalog.external.enabled=true,catalog.external.uri={uri}",
        "--set",
        "catalog.external.existingSecrets.writer=w,catalog.external.existingSecrets.reader=r",
        "--set-json",
        'catalog.external.peers=[{"ipBlock":{"cidr":"192.0.2.7/32"}}]',
    )
    to = [{"ipBlock": {"cidr": "192.0.2.7/32"}}]
    found = {
        each["metadata"]["name"].removeprefix("ticklake-"): [port["port"] for port in rule["ports"]]
        for each in objects
        if each["kind"] == "NetworkPolicy"
        for rule in each["spec"].get("egress", ())
        if rule.get("to") == to
    }
    assert found == {user.partition(" ")[0]: [CATALOGS[uri]] for user in CATALOG_USERS}


@pytest.mark.parametrize(
    "name", ["dns", "default-deny", "archive-ticks", "store", "catalog", "daily-analytics-executor"]
)
def test_a_missing_policy_is_noticed(rendered: Callable[[str], list[Manifest]], name: str) -> None:
    fewer = [
        each
        for each in rendered("default")
        if each["metadata"]["name"] != f"ticklake-{name}" or each["kind"] != "NetworkPolicy"
    ]
    try:
        found = _computed(fewer)
    except AssertionError:
        assert name in ("dns", "default-deny")
        return
    assert _difference(found, _table(9093)) != NOTHING
