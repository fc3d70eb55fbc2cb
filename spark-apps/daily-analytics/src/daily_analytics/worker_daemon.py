"""Spark's daemon of Python workers, which has loaded what `analytics` needs before it forks them."""

import talib  # noqa: F401
from pyspark.daemon import manager

from ticklake import history  # noqa: F401

if __name__ == "__main__":
    manager()  # type: ignore[no-untyped-call]
