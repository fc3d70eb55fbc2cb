"""Prometheus' alert rules without Prometheus: the platform's own rules, checked on one machine.

It reads the same rule files as Prometheus does, and the part of its query language that they use; a rule that asks for
more is rejected when it is read.
"""
