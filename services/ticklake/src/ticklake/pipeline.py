"""Every program that Airflow starts: the batch pipeline's stages in their order, and the tasks beside it, written once.

The DAGs, the local platform, reconciliation and the dashboard read them from here; tests hold the chart to them.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal

from ticklake import keys
from ticklake.records import Source
from ticklake.tables import DAILY_ANALYTICS, FACT_TABLES, namespace_of
from ticklake.topics import BATCH_TOPIC
from ticklake.warehouse_tables import DAILY_TABLE, schema_of


class Kind(StrEnum):
    """How a stage runs on Kubernetes."""

    POD = "pod"
    SPARK = "spark"


@dataclass(frozen=True)
class Place:
    """Where rows lie between two stages."""

    kind: Literal["topic", "objects", "table", "warehouse"]
    name: str
    """Topic, prefix of keys without its last slash, or table."""

    def of_batch(self, source: Source, batch_date: date) -> str:
        """The name with what depends on the batch: its day's folder, the table's namespace or schema."""
        match self.kind:
            case "topic":
                return self.name
            case "objects":
                return f"{keys.partition_day(self.name, batch_date)}/"
            case "table":
                return f"{namespace_of(source)}.{self.name}"
            case "warehouse":
                return f"{schema_of(source)}.{self.name}"


@dataclass(frozen=True)
class Stage:
    """One stage: the task that starts it, the program it runs, and what it reads and writes."""

    task_id: str
    image: str
    """Image, directory, package and metric prefix."""
    program: str
    """Console script, and the stage's name in result records."""
    kind: Kind = Kind.POD
    after: "Stage | None" = None
    """The stage whose result record it starts from."""
    reads: tuple[Place, ...] = ()
    writes: tuple[Place, ...] = ()
    """Where its rows go; the first is where they are counted."""
    proves: str = ""
    """Of a stage that writes no rows: what holds once it is done."""

    @property
    def upstream(self) -> tuple["Stage", ...]:
        """The stages whose records lead to it, in their order."""
        return (*self.after.upstream, self.after) if self.after else ()


BATCH_MESSAGES = Place("topic", BATCH_TOPIC)
RAW_DAILY = Place("objects", keys.RAW_DAILY)
FACTS = tuple(Place("table", table.name) for table in FACT_TABLES)
ANALYTICS = Place("table", DAILY_ANALYTICS.name)
WAREHOUSE = Place("warehouse", DAILY_TABLE)

FETCH = Stage("fetch_historical_data", "fetch-historical", "fetch-historical", reads=FACTS, writes=(BATCH_MESSAGES,))
CONSUME = Stage(
    "consume_historical_data",
    "consume-historical",
    "consume-historical",
    after=FETCH,
    reads=(BATCH_MESSAGES,),
    writes=(RAW_DAILY,),
)
VALIDATE_RAW = Stage(
    "validate_raw_data", "consume-historical", "validate-raw", after=CONSUME, reads=(RAW_DAILY, *FACTS), writes=FACTS
)
PROCESS = Stage(
    "process_data",
    "daily-analytics",
    "daily-analytics",
    Kind.SPARK,
    after=VALIDATE_RAW,
    reads=FACTS,
    writes=(ANALYTICS,),
)
LOAD = Stage(
    "load_to_snowflake",
    "load-warehouse",
    "load-warehouse",
    after=PROCESS,
    reads=(*FACTS, ANALYTICS),
    writes=(WAREHOUSE,),
)
VALIDATE_LOADED = Stage(
    "validate_loaded_data",
    "load-warehouse",
    "validate-loaded",
    after=LOAD,
    reads=(WAREHOUSE,),
    proves="its rows in the warehouse are as expected",
)
SUCCESS = Stage(
    "pipeline_success",
    "load-warehouse",
    "reconcile-run",
    after=LOAD,
    reads=(RAW_DAILY, *FACTS, ANALYTICS, WAREHOUSE),
    proves="every row compared by key and hash",
)

BATCH_STAGES: tuple[Stage, ...] = (FETCH, CONSUME, VALIDATE_RAW, PROCESS, LOAD, VALIDATE_LOADED, SUCCESS)

HELD_SYMBOL = Stage("decide", "fetch-historical", "held-symbol")
TICK_BARS = Stage("make_tick_bars", "tick-bars", "tick-bars")
LOAD_LIVE = Stage("load_live", "load-warehouse", "load-live")
REBUILD_WINDOWS = Stage("rebuild_windows", "stream-analytics", "rebuild-windows", Kind.SPARK)
APPLY_RETENTION = Stage("apply_retention", "lake-maintenance", "apply-retention")
MAINTAIN_TABLES = Stage("maintain_tables", "lake-maintenance", "maintain-tables")
CLEAN_METADATA = Stage("clean_airflow_metadata", "airflow-dags", "clean-metadata")

FURTHER_STAGES: tuple[Stage, ...] = (
    HELD_SYMBOL,
    TICK_BARS,
    LOAD_LIVE,
    REBUILD_WINDOWS,
    APPLY_RETENTION,
    MAINTAIN_TABLES,
    CLEAN_METADATA,
)
"""What Airflow starts besides the pipeline."""
