"""Ticks on the wire to columns: the rules of `ticklake.records.Tick` as column expressions.

A message is valid when `Tick` accepts it in pydantic's strict mode: JSON numbers are numbers, strings are strings,
nothing is missing and nothing unknown is there. Two limits are this table's own: integers end at 64 bits, and an
`event_time` is written `YYYY-MM-DDThh:mm:ss[.fraction]` with `Z` or an offset of at most 18 hours.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ticklake.records import SYMBOL, Source

METRICS = "ticks"
"""Name of the counts that `observed` reports in a query's progress."""

COLUMNS = ("symbol", "source", "price", "volume", "event_time", "sequence", "producer_run")
"""What is read of a tick."""

_FIELD_TYPES = (
    r"^ARRAY<OBJECT<event_time: STRING, price: (BIGINT|DOUBLE|DECIMAL\(\d+,\d+\)), producer_run: STRING, "
    r"(schema_version: BIGINT, )?sequence: BIGINT, source: STRING, symbol: STRING, volume: BIGINT>>\z"
)
# Java's "$" would let a line break through.
_SYMBOL = SYMBOL.removesuffix("$") + r"\z"
_EVENT_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})\z"


def parsed(raw: DataFrame) -> DataFrame:
    """Tick columns, with `valid`, beside those of Kafka's source in `raw` (which needs `value` and `timestamp`).

    Adds symbol, price, volume, event_time (cut to milliseconds), sequence, producer_run, source and valid. A row that
    is not valid has whatever could be read of it.
    """
    text = F.col("value").cast("string")
    # Spark reads the first JSON value and ignores what follows it; inside brackets, garbage behind a tick is an error.
    json = F.try_parse_json(F.concat(F.lit("["), text, F.lit("]")))
    fields = F.struct(
        text.alias("text"),
        F.schema_of_variant("json").alias("types"),
        F.try_variant_get("json", "$[1]", "string").isNotNull().alias("several"),
        _field("schema_version", "bigint"),
        _field("symbol", "string"),
        _field("price", "double"),
        _field("volume", "bigint"),
        _field("event_time", "string").alias("written_time"),
        F.date_trunc("millisecond", F.try_to_timestamp(_field("event_time", "string"))).alias("event_time"),
        _field("sequence", "bigint"),
        _field("producer_run", "string"),
        _field("source", "string"),
    )
    once = _evaluated_once(_evaluated_once(raw, json, "json"), fields, "tick").drop("json")
    return once.select(
        *raw.columns,
        *(F.col(f"tick.{name}") for name in COLUMNS),
        F.coalesce(_is_valid(), F.lit(False)).alias("valid"),
    )


def _evaluated_once(frame: DataFrame, value: Column, name: str) -> DataFrame:
    # A filter on a computed column is moved below the computation and repeats it for each reference. Nothing is moved
    # below a generator.
    return frame.withColumn(name, F.explode(F.array(value)))


def _field(name: str, kind: str) -> Column:
    return F.try_variant_get("json", f"$[0].{name}", kind).alias(name)


def _is_valid() -> Column:
    return (
        F.is_valid_utf8("tick.text")
        & F.col("tick.types").rlike(_FIELD_TYPES)
        & ~F.col("tick.several")
        # A bracket can only be in a producer's name; anywhere else it closed ours early and hid what follows.
        & (~F.contains(F.col("tick.text"), F.lit("]")) | F.contains(F.col("tick.producer_run"), F.lit("]")))
        & (F.coalesce("tick.schema_version", F.lit(1)) == 1)
        & F.col("tick.symbol").rlike(_SYMBOL)
        & (F.col("tick.price") > 0)
        & (F.col("tick.price") < float("inf"))
        & (F.col("tick.volume") >= 0)
        & (F.col("tick.sequence") >= 0)
        & (F.length("tick.producer_run") > 0)
        & F.col("tick.source").isin([source.value for source in Source])
        & F.col("tick.written_time").rlike(_EVENT_TIME)
        & F.col("tick.event_time").isNotNull()
        & (F.year("tick.event_time") >= 1)
    )


def from_the_future(tolerance_seconds: float | None) -> Column:
    """Whether a valid tick's event time lies more than the tolerance after the broker's append time.

    A function of the record alone, so every query and every retry decides alike. None means no tick is.
    """
    if tolerance_seconds is None:
        return F.lit(False)
    tolerance = F.make_dt_interval(secs=F.lit(tolerance_seconds))
    return F.col("valid") & (F.col("event_time") > F.col("timestamp") + tolerance)


def observed(ticks: DataFrame, future: Column) -> DataFrame:
    """`ticks` unchanged; each micro-batch's progress then has how many there were, were invalid, were from the future.

    Counted where the rows are read, before anything is filtered or aggregated.
    """
    return ticks.observe(
        METRICS,
        F.count(F.lit(1)).alias("rows"),
        F.count_if(~F.col("valid")).alias("invalid"),
        F.count_if(future).alias("future"),
    )


def usable(ticks: DataFrame, future: Column) -> DataFrame:
    """The ticks that windows are made of: valid and not from the future."""
    return ticks.where(F.col("valid") & ~future).select(*COLUMNS)
