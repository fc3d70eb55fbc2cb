"""Runs the whole platform on one machine: broker, store, warehouse, Spark and every stage as local processes."""
