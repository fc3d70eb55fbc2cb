"""A package, so that its files share one Spark, which ends with the last of them."""  # noqa: N999  (as the folder of its program)
