"""Metrics by Prometheus' conventions, their table, and dashboards and alerts that ask for metrics which exist."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

import metric_table

CHART = Path(__file__).parents[3] / "charts" / "ticklake"
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))
OTHERS = {
    # Prometheus, its client library, kubelets, the node exporter.
    "up",
    "ALERTS",
    "process_start_time_seconds",
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    # Spark 4.0.2, as its pages serve them.
    "metrics_executor_activeTasks",
    "metrics_executor_JVMHeapMemory_bytes",
    "metrics_stream_analytics_driver_spark_streaming_closed_inputRate_total_Value",
    "metrics_stream_analytics_driver_spark_streaming_closed_processingRate_total_Value",
    # MinIO, below /minio/metrics/v3.
    "minio_cluster_health_capacity_usable_free_bytes",
    "minio_cluster_health_capacity_usable_total_bytes",
    "minio_cluster_health_drives_count",
    "minio_cluster_health_drives_online_count",
    "minio_cluster_health_nodes_online_count",
    "minio_cluster_erasure_set_overall_health",
    "minio_api_requests_total",
    "minio_api_requests_4xx_errors_total",
    "minio_api_requests_5xx_errors_total",
    "minio_api_requests_traffic_received_bytes",
    "minio_api_requests_traffic_sent_bytes",
    # Kafka by Strimzi's reporter, as Strimzi's own dashboards name them.
    "kafka_cluster_partition_atminisr",
    "kafka_cluster_partition_underminisr",
    "kafka_log_log_size",
    "kafka_controller_kafkacontroller_activecontrollercount",
    "kafka_controller_kafkacontroller_offlinepartitionscount",
    "kafka_server_brokertopicmetrics_bytesinpersec_total",
    "kafka_server_brokertopicmetrics_bytesoutpersec_total",
    "kafka_server_brokertopicmetrics_failedfetchrequestspersec_total",
    "kafka_server_brokertopicmetrics_failedproducerequestspersec_total",
    "kafka_server_brokertopicmetrics_messagesinpersec_total",
    "kafka_server_kafkarequesthandlerpool_requesthandleravgidlepercent_total",
    "kafka_server_replicamanager_leadercount",
    "kafka_server_replicamanager_underreplicatedpartitions",
    "kafka_server_socket_server_metrics_connection_count",
}
"""Metrics of others that are asked for; each was seen at its source."""


def _known() -> set[str]:
    found = set(OTHERS)
    for program in metric_table.PROGRAMS:
        for name, kind, _, _ in metric_table.metrics_of(program):
            found |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return found


def _asked(expression: str) -> set[str]:
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\boffset \w+', " ", expression)
    bare = re.sub(r"\b(by|on|without|group_left|group_right|ignoring) *\([^)]*\)", " ", bare)
    words = set(re.findall(r"\b[a-zA-Z_][a-zA-Z0-9_:]*\b(?! *\()", bare))
    return {word for word in words if word not in ("and", "or", "unless") and not word.startswith("ticklake:")}


def _panels(path: Path) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(path.read_text())["panels"]
    return panels


def _expressions(path: Path) -> list[str]:
    return [target["expr"] for panel in _panels(path) for target in panel.get("targets", ())]


@pytest.mark.parametrize("program", metric_table.PROGRAMS)
def test_metrics_follow_the_conventions(promtool: str, program: str) -> None:
    done = subprocess.run(
        [promtool, "check", "metrics"], input=metric_table.exposed(program), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    prefix = "ticklake_batch_" if program == "batch-exporter" else f"ticklake_{program.replace('-', '_')}_"
    assert all(name.startswith(prefix) for name, *_ in metric_table.metrics_of(program))


def test_the_table_is_what_the_programs_serve() -> None:
    page = metric_table.PAGE.read_text()
    assert metric_table.page_with_tables(page) == page, "run tests/rigs/metric_table.py"
    assert set(re.findall(r"^## (.+)$", page, re.MULTILINE)) == set(metric_table.PROGRAMS)


def test_alerts_ask_for_metrics_that_exist() -> None:
    asked = set()
    for path in (CHART / "files" / "rules").glob("*.yaml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                asked |= _asked(rule["expr"])
    assert asked - _known() == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_ask_for_metrics_that_exist(path: Path) -> None:
    assert {word for expression in _expressions(path) for word in _asked(expression)} - _known() == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_ask_in_words_that_prometheus_knows(promtool: str, path: Path, tmp_path: Path) -> None:
    rules = [
        {"record": f"test:{number}", "expr": text.replace("$__rate_interval", "1m").replace("$namespace", ".*")}
        for number, text in enumerate(_expressions(path))
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_whole(path: Path) -> None:
    panels = _panels(path)
    assert len({panel["id"] for panel in panels}) == len(panels)
    covered: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & covered, panel["title"]
        assert place["x"] + place["w"] <= 24
        covered |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert all("$namespace" in each["expr"] or "ALERTS" in each["expr"] for each in panel["targets"])


def test_dashboards_are_not_each_others() -> None:
    assert len({json.loads(path.read_text())["uid"] for path in DASHBOARDS}) == len(DASHBOARDS) == 4
