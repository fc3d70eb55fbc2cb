"""Streaming SparkApplication: ticks to sliding windows."""
