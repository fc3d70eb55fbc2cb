"""Routes over the platform itself: runs, quarantine, consumer lag, what is wrong."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.exceptions import HTTPException

from dashboard.api import paging
from dashboard.api.models_platform import HeldList, Lag, PlatformAlerts, Quarantine, QuarantineDetail, RunDetail, Runs
from dashboard.api.parameters import BASE, CursorQuery, Here
from dashboard.platform.quarantine import Search

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
def quarantine(
    here: Here,
    search: Annotated[str, Query(max_length=200, description="Part of reason, symbol, place, run, stage or id")] = "",
    topic: Annotated[str | None, Query(max_length=250)] = None,
    run: Annotated[str | None, Query(max_length=250, description="Id of a run")] = None,
    decided: Annotated[bool, Query(description="Also what somebody has decided on")] = False,
    limit: Limit = 50,
    cursor: CursorQuery = None,
) -> Quarantine:
    """What failed validation and waits for a decision, newest first."""
    items, after, whole = here.quarantine.page(limit, _rank(cursor), Search(search, topic, run, decided))
    following = paging.encode(*after) if after else None
    return Quarantine.model_validate({"items": items, "next_cursor": following, "whole": whole})


@router.get("/quarantine/{message_id}")
def quarantined(here: Here, message_id: Annotated[str, Path(max_length=64)]) -> QuarantineDetail:
    """One message or row in full, with what can be done about it."""
    found = here.quarantine.detail(message_id)
    if found is None:
        raise HTTPException(404, f"nothing in quarantine has the id {message_id!r}: see /api/v1/quarantine")
    return QuarantineDetail.model_validate(found)


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
