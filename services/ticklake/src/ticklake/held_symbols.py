"""Held symbols: what waits for a person's decision, and the decisions.

What is held follows from the runs' records and the decisions alone. A symbol waits from the run that held it on until a
later run of the same source that asked for that date too has recorded facts of it, or a person drops the answer. A
release is such a run: it sends the stored answer through the stages, under an id that follows from the held run's, so
that the same release is the same run, whoever starts it and however often. Of runs and decisions the later counts.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from sys import intern
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ticklake import lineage
from ticklake.decisions import checked_name, read_object
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.keys import HELD_DECISIONS, held_decision_key, release_run_id
from ticklake.lineage import ObjectRef, StageRecord
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.pipeline import FETCH, VALIDATE_RAW
from ticklake.records import Source, Symbol, SymbolStatus, UtcMs, known_at
from ticklake.runs import PREFIX, folder_of, kind_of

Action = Literal["release", "drop"]
_DONE: Mapping[Action, str] = {"release": "released", "drop": "dropped"}

_READERS = 16


class Decision(BaseModel):
    """What a person decided on one stored answer; kept in the lake, created only if absent, and never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    action: Action
    symbol: Symbol
    run_id: str
    """The run that held it."""
    by: str
    decided_at: UtcMs
    reasons: tuple[str, ...]
    """Why it was held."""
    answer: ObjectRef | None
    """The answer that was decided on; None where there was none."""

    def description(self) -> str:
        """Who decided what, in words."""
        return f"{_DONE[self.action]} by {self.by} at {self.decided_at:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class Hold:
    """A symbol that a run holds."""

    symbol: str
    source: Source
    run_id: str
    batch_date: date
    stage: str
    """Program that holds it."""
    reasons: tuple[str, ...]
    rows: int
    """Rows that wait; 0 where there was no answer."""
    at: datetime
    answer: ObjectRef | None
    """The stored answer."""
    decision: Decision | None = None
    """A release whose run has not recorded its facts yet."""
    earlier: tuple["Hold", ...] = ()
    """The same symbol's in runs before, without a good answer between, oldest first."""

    @property
    def since(self) -> "Hold":
        """The first of them."""
        return self.earlier[0] if self.earlier else self


@dataclass(frozen=True)
class Answered:
    """What a run's records have of its symbols, as far as holding goes."""

    run_id: str
    source: Source
    first_day: date
    batch_date: date
    order: tuple[datetime, datetime]
    """When the answers count as known, a replayed or simulated batch's on the evening of its date; when it started."""
    held: tuple[Hold, ...]
    brought: tuple[str, ...]
    """Symbols whose facts are recorded."""

    @classmethod
    def of(cls, fetched: StageRecord, judged: StageRecord | None) -> "Answered":
        """From the records of fetch-historical and, where that stage has followed, of validate-raw."""
        if judged is not None and judged.finished_at < fetched.finished_at:
            judged = None  # of a try before
        at = known_at(fetched.source, fetched.started_at, fetched.batch_date)
        answers = {ref.symbol: ref for ref in fetched.objects}
        holds: dict[str, Hold] = {}
        for record in (fetched, judged) if judged is not None else (fetched,):
            for symbol, part in record.symbols.items():
                if part.status is SymbolStatus.HELD and symbol not in holds:
                    holds[symbol] = Hold(
                        intern(symbol),
                        fetched.source,
                        fetched.run_id,
                        fetched.batch_date,
                        record.stage,
                        part.reasons,
                        part.held,
                        fetched.started_at,
                        answers.get(symbol),
                    )
        recorded = judged.symbols.items() if judged is not None else ()
        brought = tuple(intern(symbol) for symbol, part in recorded if part.changes is not None)
        return cls(
            fetched.run_id,
            fetched.source,
            fetched.first_day or date.min,
            fetched.batch_date,
            (at, fetched.started_at),
            tuple(holds.values()),
            brought,
        )

    def reaches(self, hold: Hold) -> bool:
        """Whether this run asked for the date that the other held the symbol for."""
        return self.first_day <= hold.batch_date <= self.batch_date


def held_now(runs: Iterable[Answered], decisions: Iterable[Decision]) -> list[Hold]:
    """The symbols that are held, by symbol; of several runs in a row that held one, the last with those before it.

    A symbol can be there more than once: for another source, or for dates that lie too far apart for one answer.
    """
    decided = {(each.run_id, each.symbol): each for each in decisions}
    waiting: dict[tuple[Source, str], list[Hold]] = {}
    for run in sorted(runs, key=lambda run: (*run.order, run.run_id)):
        for symbol in run.brought:
            place = (run.source, symbol)
            if place in waiting:
                waiting[place] = [hold for hold in waiting[place] if not run.reaches(hold)]
        for hold in run.held:
            before = waiting.setdefault((run.source, hold.symbol), [])
            followed = [each for each in before if run.reaches(each)]
            chain = [one for each in followed for one in (*each.earlier, replace(each, earlier=()))]
            before[:] = [*(each for each in before if each not in followed), replace(hold, earlier=tuple(chain))]
    found = []
    for hold in (hold for holds in waiting.values() for hold in holds):
        decision = decided.get((hold.run_id, hold.symbol))
        if decision is not None and decision.answer != hold.answer:
            decision = None  # a retry of the run has got an answer since
        if decision is None or decision.action == "release":
            undecided = tuple(each for each in hold.earlier if (each.run_id, each.symbol) not in decided)
            found.append(replace(hold, decision=decision, earlier=undecided))
    return sorted(found, key=lambda hold: (hold.symbol, hold.source, hold.batch_date))


class HeldSymbols:
    """Lists what is held whenever it is called; only what is new or changed is read. Not for several threads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._runs: dict[str, tuple[tuple[str, ...], Answered | None]] = {}
        self._decisions: dict[str, Decision | None] = {}

    def now(self, listed: Iterable[ObjectInfo] | None = None) -> list[Hold]:
        """The symbols that are held; see `held_now`.

        Args:
            listed: the objects below `lineage/`, where the caller has just listed them.

        Raises:
            StageError: the store does not answer.
        """
        runs: dict[str, dict[str, ObjectInfo]] = {}
        for info in self._store.list_objects(PREFIX) if listed is None else listed:
            stage = info.key.rpartition("/")[2].removesuffix(".json")
            if stage in (FETCH.program, VALIDATE_RAW.program) and kind_of(info.key) is StageRecord:
                runs.setdefault(folder_of(info.key), {})[stage] = info
        etags = {folder: tuple(info.etag for info in found.values()) for folder, found in runs.items()}
        due = [folder for folder in runs if folder not in self._runs or self._runs[folder][0] != etags[folder]]
        keys = [info.key for info in self._store.list_objects(HELD_DECISIONS) if info.key not in self._decisions]
        with ThreadPoolExecutor(_READERS) as pool:
            read = pool.map(lambda folder: self._answered(runs[folder]), due)
            self._runs |= {folder: (etags[folder], found) for folder, found in zip(due, read, strict=True)}
            decided = pool.map(lambda key: read_object(self._store, key, Decision), keys)
            self._decisions |= dict(zip(keys, decided, strict=True))
        self._runs = {folder: self._runs[folder] for folder in runs}
        return held_now((found for _, found in self._runs.values() if found is not None), self.decisions)

    @property
    def decisions(self) -> list[Decision]:
        """Every decision, as of the last look."""
        return [each for each in self._decisions.values() if each is not None]

    def _answered(self, infos: Mapping[str, ObjectInfo]) -> Answered | None:
        fetched, judged = (
            read_object(self._store, infos[stage.program].key, StageRecord) if stage.program in infos else None
            for stage in (FETCH, VALIDATE_RAW)
        )
        return None if fetched is None else Answered.of(fetched, judged)


@dataclass(frozen=True)
class Decided:
    """What came of a call of `decide`."""

    decision: Decision
    source: Source
    batch_date: date
    made: bool
    """Whether this call made it; else it had been made before."""
    done: bool
    """Whether nothing is left to do: an answer that is dropped, a release whose run is reconciled."""

    @property
    def release_run_id(self) -> str:
        """The run that sends the answer, where it is released."""
        return release_run_id(self.decision.run_id, self.decision.symbol)


def decide(store: ObjectStore, action: Action, symbol: str, by: str, run_id: str | None = None) -> Decided:
    """Release or drop what is held of a symbol; the same decision a second time is the first one.

    Args:
        by: who decides.
        run_id: the run that holds it; None for the newest.

    Raises:
        ConfigurationError: it is not held, or held in several places and no run is named; its answer is not there as it
            was stored; somebody decided otherwise; `by` is no name.
    """
    by = checked_name(by)
    held = HeldSymbols(store)
    found = find(held.now(), symbol, run_id)
    if found is None:
        earlier = [each for each in held.decisions if each.symbol == symbol and run_id in (None, each.run_id)]
        if not earlier:
            raise not_held(held.now(), symbol, run_id)
        return _before(store, max(earlier, key=lambda each: each.decided_at), action)
    if found.decision is not None:
        return _before(store, found.decision, action)
    if action == "release":
        check_answer(store, found)
    decision = Decision(
        action=action,
        symbol=symbol,
        run_id=found.run_id,
        by=by,
        decided_at=datetime.now(UTC),
        reasons=found.reasons,
        answer=found.answer,
    )
    key = held_decision_key(found.run_id, symbol)
    if not store.put_if_absent(key, decision.model_dump_json(indent=1).encode()):
        there = decision_on(store, found.run_id, symbol)
        if there != decision:
            return _before(store, there, action)
    return Decided(decision, found.source, found.batch_date, made=True, done=action == "drop")


def _before(store: ObjectStore, decision: Decision, action: Action) -> Decided:
    """What came of a decision that had been made before."""
    where = f"{decision.symbol} of run {decision.run_id}"
    if decision.action != action:
        more = "; the next run asks again" if decision.action == "drop" else ""
        raise ConfigurationError(
            f"{where} cannot be {_DONE[action]}: it was {decision.description()}, which cannot be changed{more}"
        )
    record = lineage.read(store, decision.run_id, FETCH.program)
    done = action == "drop"
    if not done:
        try:
            done = lineage.read_run(store, release_run_id(decision.run_id, decision.symbol)).reconciled
        except ConfigurationError:
            done = False
    return Decided(decision, record.source, record.batch_date, made=False, done=done)


def find(held: Iterable[Hold], symbol: str, run_id: str | None = None) -> Hold | None:
    """What is held of a symbol, None where nothing is.

    Args:
        run_id: the run that holds it, also one before the newest; None for the newest.

    Raises:
        ConfigurationError: it is held in several places, and no run is named.
    """
    own = [hold for hold in held if hold.symbol == symbol]
    if run_id is not None:
        every = (one for hold in own for one in (hold, *hold.earlier))
        return next((hold for hold in every if hold.run_id == run_id), None)
    if len(own) > 1:
        places = ", ".join(f"{hold.run_id} ({hold.source}, {hold.batch_date})" for hold in own)
        raise ConfigurationError(f"{symbol} is held by several runs: {places}; name one of them")
    return own[0] if own else None


def not_held(held: Iterable[Hold], symbol: str, run_id: str | None = None) -> ConfigurationError:
    """The error that says that a symbol is not held, and what is."""
    names = ", ".join(dict.fromkeys(hold.symbol for hold in held))
    of_run = f" by run {run_id}" if run_id is not None else ""
    return ConfigurationError(f"{symbol} is not held{of_run}; {f'held now: {names}' if names else 'nothing is'}")


def check_answer(store: ObjectStore, hold: Hold) -> bytes:
    """The stored answer that is held.

    Raises:
        ConfigurationError: there was none, it is gone, or it is not what was stored.
    """
    if hold.answer is None:
        raise ConfigurationError(
            f"run {hold.run_id} has no answer for {hold.symbol} that could be released ({'; '.join(hold.reasons)}): "
            "the next run asks again"
        )
    return _stored(store, hold.answer)


def _stored(store: ObjectStore, answer: ObjectRef) -> bytes:
    try:
        return lineage.fetch(store, answer, "it cannot be released; drop it, and the next run asks again")
    except IntegrityError as error:
        raise ConfigurationError(str(error)) from error  # no retry brings it back


def decision_on(store: ObjectStore, run_id: str, symbol: str) -> Decision:
    """What was decided on a symbol that a run holds.

    Raises:
        ConfigurationError: nothing was.
    """
    key = held_decision_key(run_id, symbol)
    found = read_object(store, key, Decision)
    if found is None:
        raise ConfigurationError(f"nobody has decided on {symbol} of run {run_id} ({key})")
    return found


def released(store: ObjectStore, run_id: str, symbol: str) -> tuple[Decision, ObjectRef]:
    """The release of a symbol that a run held, and the answer that it is for.

    Raises:
        ConfigurationError: there is none.
    """
    decision = decision_on(store, run_id, symbol)
    if decision.action != "release" or decision.answer is None:
        raise ConfigurationError(f"{symbol} of run {run_id} was {decision.description()}, not released")
    return decision, decision.answer


def released_answer(store: ObjectStore, run_id: str, symbol: str) -> tuple[Decision, ObjectRef, bytes]:
    """The release of a symbol that a run held, with its stored answer.

    Raises:
        ConfigurationError: there is none, or the answer is not there as it was stored.
    """
    decision, answer = released(store, run_id, symbol)
    return decision, answer, _stored(store, answer)
