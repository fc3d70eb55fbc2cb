"""The lake's tables to Snowflake, and the reconciliation that ends a run."""
