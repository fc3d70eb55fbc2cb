"""The lake: objects in an S3 bucket, with conditional writes and errors that say what to do."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from ticklake.errors import ConfigurationError, CredentialsError, DeniedError, StageError
from ticklake.settings import StoreSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SHA256 = "sha256"
"""User metadata that holds an object's own SHA-256, in hex."""

_MOST_AT_ONCE = 1000
"""Objects that S3 removes in one request."""

_REJECTED = {"InvalidAccessKeyId", "SignatureDoesNotMatch"}
_FORBIDDEN = {"AccessDenied", "403", "Forbidden"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}
_LOST_RACE = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}


@dataclass(frozen=True)
class ObjectInfo:
    """An object's entry in a listing."""

    key: str
    size: int
    """Bytes."""
    etag: str = ""
    """Changes with the content; no checksum that could be computed elsewhere."""
    modified: datetime | None = None
    """When it was written, by the store's clock."""


class ObjectStore:
    """One bucket. Safe for use from several threads.

    Every method raises `CredentialsError` where the store rejects the key, `ConfigurationError` where that may not do
    this or there is no bucket, and `StageError` where the store is out of reach or fails.
    """

    def __init__(self, settings: StoreSettings, attempts: int = 5) -> None:
        """Keep `settings`; nothing is sent before the first call."""
        self.settings, self.bucket = settings, settings.bucket
        self._access_key = settings.access_key.get_secret_value() if settings.access_key else ""
        self._where = settings.endpoint or f"Amazon S3 ({settings.region})"
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id=self._access_key or None,
            aws_secret_access_key=settings.secret_key.get_secret_value() if settings.secret_key else None,
            verify=str(settings.ca_file) if settings.ca_file else None,
            config=Config(
                connect_timeout=settings.timeout_seconds,
                read_timeout=settings.timeout_seconds,
                retries={"max_attempts": attempts, "mode": "standard"},
                s3={"addressing_style": "path"} if settings.endpoint else {},
                # Stores other than Amazon's do not all know the newer trailing checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                max_pool_connections=32,
            ),
        )

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except NoCredentialsError as error:
            raise ConfigurationError(
                f"no credentials for the store at {self._where}: "
                "set TICKLAKE_STORE_ACCESS_KEY and TICKLAKE_STORE_SECRET_KEY"
            ) from error
        except ClientError as error:
            raise self._explain(error, action) from error
        except BotoCoreError as error:
            raise StageError(f"the store at {self._where} does not answer ({action}): {error}") from error

    def _explain(self, error: ClientError, action: str) -> StageError:
        code = error_code(error)
        if code in _REJECTED:
            return CredentialsError(
                f"the store at {self._where} rejects the credentials ({code}): "
                "check TICKLAKE_STORE_ACCESS_KEY and TICKLAKE_STORE_SECRET_KEY"
            )
        if code in _FORBIDDEN:
            return DeniedError(
                f"the store at {self._where} denies permission to {action} ({code}): "
                "check TICKLAKE_STORE_ACCESS_KEY, TICKLAKE_STORE_SECRET_KEY and the rights of that user"
            )
        if code == "NoSuchBucket":
            return ConfigurationError(f"the store at {self._where} has no bucket {self.bucket}: create it")
        # Some proxies repeat the request's headers, of which one has the access key.
        shown = str(error).replace(self._access_key, "…") if self._access_key else str(error)
        return StageError(f"the store at {self._where} failed to {action}: {shown}")

    def put(self, key: str, body: bytes, *, metadata: dict[str, str] | None = None, content_type: str = "") -> None:
        """Write an object, replacing any that is there. Its SHA-256 goes into its metadata."""
        with self._errors(f"write {key}"):
            self._client.put_object(**self._put_arguments(key, body, metadata, content_type))

    def put_if_absent(
        self, key: str, body: bytes, *, metadata: dict[str, str] | None = None, content_type: str = ""
    ) -> bool:
        """Write an object only if there is none at `key`; of several writers exactly one gets True.

        An attempt whose answer was lost is repeated by the client and then loses against itself, so on False compare
        what is there with what was to be written before calling it another writer's.
        """
        with self._errors(f"write {key}"):
            try:
                self._client.put_object(**self._put_arguments(key, body, metadata, content_type), IfNoneMatch="*")
            except ClientError as error:
                if error_code(error) in _LOST_RACE:
                    return False
                raise
        return True

    def _put_arguments(
        self, key: str, body: bytes, metadata: dict[str, str] | None, content_type: str
    ) -> dict[str, Any]:
        return {
            "Bucket": self.bucket,
            "Key": key,
            "Body": body,
            "Metadata": {SHA256: hashlib.sha256(body).hexdigest(), **(metadata or {})},
            "ContentType": content_type or _content_type(key),
        }

    def get(self, key: str) -> bytes:
        """The object's bytes.

        Raises:
            KeyError: there is no such object.
        """
        with self._errors(f"read {key}"):
            try:
                return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            except ClientError as error:
                if error_code(error) in _ABSENT:
                    raise KeyError(key) from error
                raise

    def metadata(self, key: str) -> dict[str, str] | None:
        """The object's user metadata, None where there is no object."""
        with self._errors(f"look at {key}"):
            try:
                return self._client.head_object(Bucket=self.bucket, Key=key)["Metadata"]
            except ClientError as error:
                if error_code(error) in _ABSENT:
                    return None
                if error_code(error) in _FORBIDDEN:
                    # The answer to a HEAD has no body, so no code that says whether the keys are wrong.
                    with suppress(DeniedError):
                        self.check_sign_in(key)
                raise

    def list_objects(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, in the order of their keys; only those behind `after`."""
        behind: Any = {"StartAfter": after} if after else {}
        with self._errors(f"list {prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, **behind)
            for page in pages:
                for item in page.get("Contents", []):
                    yield ObjectInfo(
                        item["Key"], item["Size"], item.get("ETag", "").strip('"'), item.get("LastModified")
                    )

    def folders(self, prefix: str) -> list[str]:
        """Common prefixes directly below `prefix` (which ends in `/`), each with its trailing slash, in order."""
        with self._errors(f"list {prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/"
            )
            return [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", [])]

    def delete(self, key: str) -> None:
        """Remove an object; none being there is no error."""
        with self._errors(f"remove {key}"):
            self._client.delete_object(Bucket=self.bucket, Key=key)

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove many objects, a thousand to a request.

        Raises:
            StageError: some could not be removed, among the other failures; the message names the first.
        """
        rest = iter(keys)
        while group := list(islice(rest, _MOST_AT_ONCE)):
            with self._errors(f"remove {len(group)} objects"):
                answer = self._client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in group], "Quiet": True}
                )
            if failed := answer.get("Errors"):
                raise StageError(
                    f"the store at {self._where} did not remove {len(failed)} objects, the first "
                    f"{failed[0].get('Key')}: {failed[0].get('Code')}"
                )

    def create_bucket(self) -> None:
        """Create the bucket unless it is there."""
        with self._errors("create the bucket"):
            try:
                self._client.create_bucket(Bucket=self.bucket)
            except ClientError as error:
                if error_code(error) not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                    raise

    def expire(self, days: dict[str, int]) -> None:
        """Let objects under each prefix expire that many days after they were written; other rules are replaced.

        Raises:
            StageError: the store knows no expiry, among the other failures.
        """
        rules = [
            {
                "ID": prefix.strip("/").replace("/", "-"),
                "Status": "Enabled",
                "Filter": {"Prefix": prefix},
                "Expiration": {"Days": number},
            }
            for prefix, number in sorted(days.items())
        ]
        with self._errors("set the expiry of objects"):
            if rules:
                configuration: Any = {"Rules": rules}
                self._client.put_bucket_lifecycle_configuration(
                    Bucket=self.bucket, LifecycleConfiguration=configuration
                )
            else:
                self._client.delete_bucket_lifecycle(Bucket=self.bucket)

    def check_sign_in(self, prefix: str = "") -> None:
        """Check that the store accepts the keys.

        Raises:
            DeniedError: it does, and they may not list `prefix`.
            CredentialsError: it does not.
        """
        with self._errors(f"list {prefix or 'the bucket'}"):
            self._client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=1)


def error_code(error: ClientError) -> str:
    """The S3 error code of `error`, e.g. `NoSuchKey`; for an answer without a body, its HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _content_type(key: str) -> str:
    types = {"csv": "text/csv", "json": "application/json", "parquet": "application/vnd.apache.parquet"}
    return types.get(key.rpartition(".")[2], "application/octet-stream")
