"""The least that any batch in Spark costs: a session that starts and writes one Parquet file to the store."""

import os

from pyspark.sql import SparkSession

prefix = "spark.hadoop.fs.s3a"
session = (
    SparkSession.Builder()
    .master("local[2]")
    .config("spark.driver.extraClassPath", os.environ["OLD_JARS"] + "/*")
    .config("spark.ui.enabled", "false")
    .config(f"{prefix}.endpoint", os.environ["OLD_S3"])
    .config(f"{prefix}.endpoint.region", "us-east-1")
    .config(f"{prefix}.path.style.access", "true")
    .config(f"{prefix}.access.key", os.environ["OLD_KEY"])
    .config(f"{prefix}.secret.key", os.environ["OLD_SECRET"])
    .getOrCreate()
)
session.range(2500).coalesce(1).write.mode("overwrite").parquet(f"s3a://{os.environ['OLD_BUCKET']}/bare")
session.stop()
