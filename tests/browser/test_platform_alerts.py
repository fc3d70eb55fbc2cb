"""Alerts about the platform, from a real Alertmanager to the page."""

import json
import shutil
import subprocess
import urllib.request
from datetime import UTC, datetime

import pytest
from relay import LOOPBACK
from waiting import ENDS_SECONDS, wait_until

from ticklake_local.processes import free_port

CONFIGURATION = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@pytest.fixture
def alertmanager(tmp_path):
    """The address of a running Alertmanager that notifies nobody."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        pytest.skip("there is no Alertmanager: apt-get install prometheus-alertmanager")
    (tmp_path / "alertmanager.yml").write_text(CONFIGURATION)
    address = f"{LOOPBACK}:{free_port()}"
    command = [
        program,
        f"--config.file={tmp_path / 'alertmanager.yml'}",
        f"--storage.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with (tmp_path / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: ready(address), (tmp_path / "alertmanager.log").read_text)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(ENDS_SECONDS)


def ready(address: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}/-/ready", timeout=2).close()
    except OSError:
        return False
    return True


def fire(address: str, name: str, severity: str, runbook: str) -> None:
    alert = {
        "labels": {"alertname": name, "severity": severity, "topic": "stock-market-realtime"},
        "annotations": {"summary": f"{name} was seen", "runbook_url": runbook},
        "startsAt": datetime.now(UTC).isoformat(),
    }
    body = json.dumps([alert]).encode()
    request = urllib.request.Request(
        f"{address}/api/v2/alerts", data=body, headers={"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=5).close()


def test_an_alert_about_the_platform_appears(new_site, visit, empty_lake, alertmanager):
    site = new_site(empty_lake, DASHBOARD_ALERTMANAGER=alertmanager)
    page = visit(site.server.url).open("#/platform")
    page.wait_text("#panel", "Nothing is wrong")
    fire(alertmanager, "LagGrows", "warning", "javascript:alert(1)")
    fire(alertmanager, "NoTicks", "critical", "https://example.org/no-ticks")
    page.wait_text("#panel", "NoTicks was seen")
    rows = page.tab.locator("section:has(> header:has-text('Platform alerts')) tbody tr").all_inner_texts()
    assert ["NoTicks" in row for row in rows] == [True, False], "worst first"
    assert "topic stock-market-realtime" in rows[0]
    links = page.tab.eval_on_selector_all("#panel a:has-text('what to do')", "(all) => all.map((each) => each.href)")
    assert links == ["https://example.org/no-ticks"], "a link of another scheme than the web's is not made"


def test_without_an_alertmanager_the_page_says_so(new_site, visit, empty_lake):
    page = visit(new_site(empty_lake).server.url).open("#/platform")
    page.wait_text("#panel", "Not watched")
