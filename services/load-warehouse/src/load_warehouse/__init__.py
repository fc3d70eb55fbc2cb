"""Processed Parquet to Snowflake, and the reconciliation that ends a run."""
