"""Routes over the platform itself: runs, quarantine, consumer lag, what is wrong."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.exceptions import HTTPException

from dashboard.api import paging
from dashboard.api.models_platform import HeldList, Lag, PlatformAlerts, Quarantine, RunDetail, Runs
from dashboard.api.parameters import BASE, CursorQuery, Here

router = APIRouter(prefix=BASE, tags=["platform"])

Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/runs")
def runs(here: Here, limit: Limit = 50, cursor: CursorQuery = None) -> Runs:
    """Pipeline runs, newest first."""
    items, after = here.runs.page(limit, _rank(cursor))
    return Runs.model_validate({"items": items, "next_cursor": paging.encode(*after) if after else None})


@router.get("/runs/{run_id}", response_model_by_alias=True)
def run(here: Here, run_id: Annotated[str, Path(max_length=250)]) -> RunDetail:
    """One run with its stages, failures, checks, symbols and lineage."""
    found = here.runs.detail(run_id)
    if found is None:
        raise HTTPException(404, f"no run {run_id!r} has ended a stage: see /api/v1/runs for what there is")
    return RunDetail.model_validate(found)


@router.get("/quarantine")
def quarantine(here: Here, limit: Limit = 50, cursor: CursorQuery = None) -> Quarantine:
    """What failed validation, newest first."""
    items, after = here.quarantine.page(limit, _rank(cursor))
    return Quarantine.model_validate({"items": items, "next_cursor": paging.encode(*after) if after else None})


@router.get("/held")
def held(here: Here) -> HeldList:
    """Symbols whose rows wait for a person's decision."""
    return HeldList.model_validate({"items": here.held.read()})


@router.get("/lag")
def lag(here: Here) -> Lag:
    """How far the archive, the alerts and the batch's consumer are behind, by partition."""
    here.expect_broker()
    return Lag.model_validate({"items": here.lag.read()})


@router.get("/platform-alerts")
def platform_alerts(here: Here) -> PlatformAlerts:
    """Alerts about the platform that fire now."""
    alerts = here.platform_alerts
    return PlatformAlerts.model_validate({"configured": alerts.configured, "items": alerts.read()})


def _rank(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    at, name = paging.decode(cursor, int, str)
    return int(str(at)), str(name)
