"""10,000 ticks a second take less than one core with the rules that come along; the figure is printed."""

import random
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil

from market_alerts.rules_file import DEFAULT_FILE
from ticklake_local.processes import free_port

TICKS = 60_000
SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "NVDA", "INTC")


def test_ten_thousand_ticks_a_second(service: Callable[..., Any], flow: Any) -> None:
    rng, price = random.Random(1), dict.fromkeys(SYMBOLS, 200.0)
    ticks = []
    for number in range(TICKS // 8):
        for symbol in SYMBOLS:
            price[symbol] *= 1 + rng.gauss(0, 3e-5)
            # An hour of event time, so that every rule has what it needs.
            ticks.append((number * 0.48, symbol, round(price[symbol], 4)))
    port = free_port()
    running = service(DEFAULT_FILE.read_text())
    running.environment["TICKLAKE_METRICS_PORT"] = str(port)
    running.start()
    running.wait_for("reading")

    def evaluated() -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("ticklake_market_alerts_ticks_total"))

    process = psutil.Process(running.process.pid)
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    flow.send(*ticks)
    running.eventually(lambda: evaluated() == TICKS)
    cpu = sum(process.cpu_times()[:2]) - before
    print(
        f"{TICKS} ticks: {cpu / TICKS * 1e6:.0f} µs of CPU each, {TICKS / cpu:,.0f} a second on one core; "
        f"{time.monotonic() - began:.1f} s with the sending, {len(flow.alerts())} alerts"
    )
    assert TICKS / cpu > 10_000
    assert running.stop() == 0
