"""Hourly tables of ticks, bars and gaps from the archive, each row once."""
