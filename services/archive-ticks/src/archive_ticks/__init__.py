"""Live ticks from Kafka to CSV and Parquet in the lake, each exactly once."""
