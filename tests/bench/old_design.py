"""A plain reading of the system that ticklake replaces, as the yardstick of the benchmark. It stays as it is.

Four programs, each started as a process of its own: default kafka-python settings with a confirmed send per record, a
CSV put per symbol, a fresh Spark session with default settings, row-by-row inserts. What it gets wrong on purpose
belongs to that design and is not fixed here.
"""

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

TOPIC = "old_stock_market_batch"
PREFIX = "old/raw/historical/year=2026/month=01/day=02"
PROCESSED = "old/processed/historical/date=2026-01-02"
FIELDS = ("symbol", "date", "open", "high", "low", "close", "volume", "batch_id", "batch_date")


def _s3() -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=os.environ["OLD_S3"],
        aws_access_key_id=os.environ["OLD_KEY"],
        aws_secret_access_key=os.environ["OLD_SECRET"],
        region_name="us-east-1",
    )


def produce(rows_file: str) -> None:
    """Send each row of a JSON-lines file and wait for its confirmation before the next."""
    from kafka import KafkaProducer

    producer = KafkaProducer(
        bootstrap_servers=os.environ["OLD_KAFKA"], value_serializer=lambda value: json.dumps(value).encode()
    )
    with Path(rows_file).open() as rows:
        for line in rows:
            row = json.loads(line)
            producer.send(TOPIC, key=row["symbol"].encode(), value=row).get(timeout=30)
    producer.close()


def consume(expected: str) -> None:
    """Collect `expected` rows from the topic's start, then put one CSV per symbol."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(
        TOPIC,
        bootstrap_servers=os.environ["OLD_KAFKA"],
        group_id="old-batch-consumer",
        auto_offset_reset="earliest",
        consumer_timeout_ms=60_000,
    )
    by_symbol: dict[str, list[dict[str, Any]]] = {}
    for count, message in enumerate(consumer, start=1):
        row = json.loads(message.value)
        by_symbol.setdefault(row["symbol"], []).append(row)
        if count == int(expected):
            break
    client = _s3()
    for symbol, rows in by_symbol.items():
        text = io.StringIO()
        writer = csv.DictWriter(text, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
        client.put_object(Bucket=os.environ["OLD_BUCKET"], Key=f"{PREFIX}/{symbol}_120000.csv", Body=text.getvalue())
    consumer.close()


def process() -> None:
    """Daily metrics and moving averages in a fresh Spark session with its default settings."""
    from pyspark.sql import SparkSession, Window
    from pyspark.sql import functions as F

    spark = (
        SparkSession.builder.appName("old-batch")
        .config("spark.driver.extraClassPath", os.environ["OLD_JARS"] + "/*")
        .config("spark.hadoop.fs.s3a.endpoint", os.environ["OLD_S3"])
        .config("spark.hadoop.fs.s3a.access.key", os.environ["OLD_KEY"])
        .config("spark.hadoop.fs.s3a.secret.key", os.environ["OLD_SECRET"])
        .config("spark.hadoop.fs.s3a.path.style.access", "true")
        .config("spark.hadoop.fs.s3a.endpoint.region", "us-east-1")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    bucket = os.environ["OLD_BUCKET"]
    frame = spark.read.option("header", "true").option("inferSchema", "true").csv(f"s3a://{bucket}/{PREFIX}/*.csv")
    print("rows", frame.count())
    ordered = Window.partitionBy("symbol").orderBy("date")
    frame = (
        frame.withColumn("daily_change", F.col("close") - F.col("open"))
        .withColumn("daily_change_pct", (F.col("close") - F.col("open")) / F.col("open") * 100)
        .withColumn("previous_close", F.lag("close").over(ordered))
        .withColumn("sma_5", F.avg("close").over(ordered.rowsBetween(-4, 0)))
        .withColumn("sma_20", F.avg("close").over(ordered.rowsBetween(-19, 0)))
        .withColumn("volatility_20", F.stddev("close").over(ordered.rowsBetween(-19, 0)))
    )
    print("processed", frame.count())
    frame.write.mode("overwrite").partitionBy("symbol").parquet(f"s3a://{bucket}/{PROCESSED}")
    spark.stop()


def load() -> None:
    """Read the Parquet back and insert row by row."""
    import pyarrow.parquet as pq
    import snowflake.connector

    client = _s3()
    bucket = os.environ["OLD_BUCKET"]
    connection = snowflake.connector.connect(
        account="old",
        user="old",
        password="old",
        host="127.0.0.1",
        port=int(os.environ["OLD_WAREHOUSE"]),
        protocol="http",
    )
    cursor = connection.cursor()
    cursor.execute("CREATE DATABASE IF NOT EXISTS OLD_DESIGN")
    cursor.execute("CREATE SCHEMA IF NOT EXISTS OLD_DESIGN.MARKET")
    cursor.execute("USE SCHEMA OLD_DESIGN.MARKET")
    cursor.execute(
        "CREATE TABLE IF NOT EXISTS DAILY (symbol STRING, day STRING, open FLOAT, high FLOAT, low FLOAT, close FLOAT, "
        "volume NUMBER, daily_change FLOAT, sma_5 FLOAT, sma_20 FLOAT)"
    )
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PROCESSED):
        for item in page.get("Contents", []):
            if not item["Key"].endswith(".parquet"):
                continue
            symbol = item["Key"].split("symbol=")[1].split("/")[0]
            body = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            for row in pq.read_table(io.BytesIO(body)).to_pylist():
                cursor.execute(
                    "INSERT INTO DAILY VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                    (
                        symbol,
                        str(row["date"]),
                        row["open"],
                        row["high"],
                        row["low"],
                        row["close"],
                        row["volume"],
                        row["daily_change"],
                        row["sma_5"],
                        row["sma_20"],
                    ),
                )
    connection.close()


if __name__ == "__main__":
    {"produce": produce, "consume": consume, "process": process, "load": load}[sys.argv[1]](*sys.argv[2:])
