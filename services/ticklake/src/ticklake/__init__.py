"""Shared library of the ticklake stages.

Everything that two stages must agree on lives here once: the records on the wire, the names of topics, keys and
tables, the settings, and the ways to talk to Kafka and to the lake.
"""
