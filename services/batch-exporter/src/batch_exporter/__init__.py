"""Prometheus metrics of the batch runs, made from the result records in the lake."""
