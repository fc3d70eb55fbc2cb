"""Metrics from targets to samples, as Prometheus would take them."""

import http.client
import os
import time
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from ticklake_local.alerting.series import Labels, Samples

_TIMEOUT_SECONDS = 2.0
_AT_ONCE = 8

Exported = dict[tuple[str, Labels], float]


def scrape(samples: Samples, targets: Mapping[str, str]) -> None:
    """Ask every target once, and note which answered, in `up`.

    Args:
        targets: addresses by component; a target's job is `ticklake-` and its component.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, exported in zip(targets, pool.map(_ask, targets.values()), strict=True):
            place = {"job": f"ticklake-{name}", "instance": urlsplit(targets[name]).netloc}
            now = time.time()
            labelled = {
                (metric, frozenset({*labels, *place.items()})): value for (metric, labels), value in exported.items()
            }
            samples.scraped(name, now, labelled)
            samples.add("up", frozenset(place.items()), now, float(bool(exported)))


def _ask(address: str) -> Exported:
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - settings, http only
            families = list(text_string_to_metric_families(answer.read().decode()))
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def sample_disk(samples: Samples, folder: Path) -> None:
    """Note the room on the disk of `folder` under the names of Prometheus' node exporter."""
    state = os.statvfs(folder)
    place = frozenset({("instance", "this machine"), ("mountpoint", str(folder)), ("fstype", "any")})
    now = time.time()
    samples.add("node_filesystem_avail_bytes", place, now, float(state.f_bavail * state.f_frsize))
    samples.add("node_filesystem_size_bytes", place, now, float(state.f_blocks * state.f_frsize))
