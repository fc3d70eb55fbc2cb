"""The batch pipeline: its stages and their order, written once. The DAG and the local platform both read it."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a stage runs on Kubernetes."""

    POD = "pod"
    SPARK = "spark"


@dataclass(frozen=True)
class Stage:
    """One stage: the task that starts it, the image it lives in and the program it runs."""

    task_id: str
    image: str
    """Image, directory and metric prefix."""
    program: str
    """Console script, and the stage's name in result records."""
    kind: Kind = Kind.POD
    validates: bool = False
    """Whether it only judges what the stage before left, by the limits of `TICKLAKE_QUALITY_…`."""


FETCH = Stage("fetch_historical_data", "fetch-historical", "fetch-historical")
CONSUME = Stage("consume_historical_data", "consume-historical", "consume-historical")
VALIDATE_RAW = Stage("validate_raw_data", "consume-historical", "validate-raw", validates=True)
PROCESS = Stage("process_data", "daily-analytics", "daily-analytics", Kind.SPARK)
LOAD = Stage("load_to_snowflake", "load-warehouse", "load-warehouse")
VALIDATE_LOADED = Stage("validate_loaded_data", "load-warehouse", "validate-loaded", validates=True)
SUCCESS = Stage("pipeline_success", "load-warehouse", "reconcile-run")

BATCH_STAGES: tuple[Stage, ...] = (FETCH, CONSUME, VALIDATE_RAW, PROCESS, LOAD, VALIDATE_LOADED, SUCCESS)
