"""The page in a real Chromium, on the real dashboard, broker and store."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browser_rig import DESKTOP, Page, Site, site_running
from dashboard_rig import FilledLake, Lake, fill_lake
from waiting import SECONDS

from ticklake.settings import CatalogSettings, StoreSettings
from ticklake_local.platform import Platform

REQUIRED = "TICKLAKE_REQUIRE_BROWSER"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A running Chromium; the tests are left out, with how to get one, where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        reason = "there is no Chromium: apt-get install chromium"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{reason} ({REQUIRED} is set)")
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    # Not for the whole session: while it runs, this thread has an event loop, which other tests' asyncio.run refuses.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Page]]:
    """Opens pages; at the end none may have logged an error or asked another origin for anything."""
    with ExitStack() as stack:
        pages: list[Page] = []

        def new(url: str, *, away: bool = False, **context: Any) -> Page:
            made = chromium.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce"} | context)
            made.set_default_timeout(SECONDS * 1000)
            stack.callback(made.close)
            page = Page(made.new_page(), url, away=away)
            page.tab.on("console", lambda message: page.note(message) if message.type == "error" else None)
            page.tab.on("pageerror", lambda error: page.errors.append(str(error)))
            page.tab.on(
                "request", lambda asked: None if asked.url.startswith(url) else page.strangers.append(asked.url)
            )
            pages.append(page)
            return page

        yield new
        for page in pages:
            assert page.strangers == []
            assert page.faults() == []


@pytest.fixture(scope="session")
def filled_lake(local_platform: Platform, programs: Path) -> FilledLake:
    """One batch through every stage."""
    return fill_lake(local_platform, programs)


@pytest.fixture
def empty_lake(store_settings: StoreSettings, catalog_settings: CatalogSettings) -> Lake:
    """One without a batch."""
    return Lake(store_settings, catalog_settings)


@pytest.fixture(scope="module")
def site(
    chromium: Any,
    local_platform: Platform,
    programs: Path,
    filled_lake: FilledLake,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A dashboard with everything: history, ticks and windows."""
    folder = tmp_path_factory.mktemp("site")
    # Nobody sends ticks between the tests.
    with site_running(local_platform, programs, filled_lake, folder, DASHBOARD_STALE_SECONDS="900") as running:
        running.windows()
        running.server.wait("/symbols/AAPL/windows?length=15m", lambda answer: len(answer["items"]) == 61)
        running.server.wait("/symbols", lambda answer: any(item["sessions"] for item in answer["items"]))
        yield running


@pytest.fixture
def new_site(chromium: Any, local_platform: Platform, programs: Path, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts a dashboard of the test's own; keywords are variables without TICKLAKE_."""
    with ExitStack() as stack:
        yield lambda lake, **more: stack.enter_context(site_running(local_platform, programs, lake, tmp_path, **more))
