"""The id that Spark keeps in a query's checkpoint, read and written by Spark's own class for it."""

from pyspark.sql import SparkSession

from ticklake.spark import translated_errors


class Checkpoint:
    """The checkpoint of one query.

    Every method raises `ConfigurationError` where the store rejects the key, and `StageError` where the checkpoint
    cannot be read or written.

    Args:
        location: folder or URI of this query's checkpoint alone.
    """

    def __init__(self, spark: SparkSession, location: str) -> None:
        self.location = location
        with translated_errors("use a checkpoint"):
            java = spark._jvm
            assert java is not None  # noqa: S101 - None belongs to Spark Connect
            self._metadata = java.org.apache.spark.sql.execution.streaming.StreamMetadata
            self._file = java.org.apache.hadoop.fs.Path(f"{location}/metadata")
            self._conf = spark._jsparkSession.sessionState().newHadoopConf()

    def id(self) -> str | None:
        """The query's id; None where there is no checkpoint yet."""
        with translated_errors(f"read the checkpoint {self.location}"):
            found = self._metadata.read(self._file, self._conf)
            return str(found.get().id()) if found.isDefined() else None

    def create(self, query_id: str) -> None:
        """Make a checkpoint whose query gets the id `query_id` when it starts."""
        with translated_errors(f"create the checkpoint {self.location}"):
            self._file.getFileSystem(self._conf).mkdirs(self._file.getParent())
            self._metadata.write(self._metadata.apply(query_id), self._file, self._conf)
