"""The S3 server, run for real and asked with boto3."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from ticklake_local.jars import JarsError, ensure_jars
from ticklake_local.java import Java, find_java
from ticklake_local.processes import PartError, free_port, port_in_use
from ticklake_local.store import Store

CACHE = Path.home() / ".cache" / "ticklake" / "jars"
BUCKET = "stock-market-data"
WRITERS = 20


@pytest.fixture(scope="module")
def jars() -> Path:
    try:
        return ensure_jars(find_java(), CACHE)["s3proxy"]
    except JarsError as error:
        pytest.skip(str(error))


def build(jars: Path, folder: Path, java: Java | None = None) -> Store:
    return Store(java or find_java(), jars, folder / "store", folder / "logs", free_port(), "a-key", "a/se+cret=key")


def client(store: Store, secret: str = "a/se+cret=key") -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=WRITERS, retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def store(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = build(jars, tmp_path_factory.mktemp("store"))
    store.start()
    store.wait_ready()
    client(store).create_bucket(Bucket=BUCKET)
    yield store
    store.stop()


@pytest.fixture
def s3(store: Store) -> Any:
    return client(store)


def status(error: pytest.ExceptionInfo[ClientError]) -> int:
    return int(error.value.response["ResponseMetadata"]["HTTPStatusCode"])


def keys(s3: Any, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


def test_put_get_list_copy_delete_with_metadata(s3: Any) -> None:
    key = "raw/historical/year=2024/month=01/day=02/AAPL_103000.csv"
    metadata = {"first-offset": "0", "rows": "250"}
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"a,b\n1,2\n", ContentType="text/csv", Metadata=metadata)
    answer = s3.get_object(Bucket=BUCKET, Key=key)
    assert (answer["Body"].read(), answer["Metadata"], answer["ContentType"]) == (b"a,b\n1,2\n", metadata, "text/csv")
    s3.copy_object(Bucket=BUCKET, Key="raw/copy", CopySource={"Bucket": BUCKET, "Key": key})
    assert s3.head_object(Bucket=BUCKET, Key="raw/copy")["Metadata"] == metadata
    assert keys(s3, "raw/") == ["raw/copy", key]
    assert s3.get_object(Bucket=BUCKET, Key=key, Range="bytes=2-2")["Body"].read() == b"b"
    s3.delete_object(Bucket=BUCKET, Key=key)
    assert keys(s3, "raw/") == ["raw/copy"]
    with pytest.raises(ClientError) as missing:
        s3.head_object(Bucket=BUCKET, Key=key)
    assert status(missing) == 404


def test_listing_by_pages_and_folders(s3: Any) -> None:
    for number in range(25):
        s3.put_object(Bucket=BUCKET, Key=f"many/{number % 2}/{number:03}", Body=b"")
    paginator = s3.get_paginator("list_objects_v2")
    pages = list(paginator.paginate(Bucket=BUCKET, Prefix="many/", PaginationConfig={"PageSize": 10}))
    assert [len(page["Contents"]) for page in pages] == [10, 10, 5]
    answer = s3.list_objects_v2(Bucket=BUCKET, Prefix="many/", Delimiter="/")
    assert [folder["Prefix"] for folder in answer["CommonPrefixes"]] == ["many/0/", "many/1/"]


def test_multipart_upload_appears_only_when_complete(s3: Any) -> None:
    parts = [bytes([number]) * (5 << 20) for number in (1, 2)] + [b"end"]
    upload = {"Bucket": BUCKET, "Key": "multi/part"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, Metadata={"rows": "3"})["UploadId"]
    done = [
        {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
        for number, body in enumerate(parts, 1)
    ]
    assert keys(s3, "multi/") == []
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
    answer = s3.get_object(Bucket=BUCKET, Key="multi/part")
    assert answer["Body"].read() == b"".join(parts)
    assert answer["Metadata"] == {"rows": "3"}


def test_existing_object_is_not_overwritten_under_if_none_match(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"first", IfNoneMatch="*", Metadata={"writer": "1"})
    with pytest.raises(ClientError) as rejected:
        s3.put_object(Bucket=BUCKET, Key="once", Body=b"second", IfNoneMatch="*", Metadata={"writer": "2"})
    assert status(rejected) == 412
    answer = s3.get_object(Bucket=BUCKET, Key="once")
    assert (answer["Body"].read(), answer["Metadata"]) == (b"first", {"writer": "1"})


@pytest.mark.parametrize("size", [1_000, 300_000])
def test_of_concurrent_conditional_writers_exactly_one_wins(s3: Any, size: int) -> None:
    start = threading.Barrier(WRITERS)

    def write(key: str, writer: int) -> str:
        start.wait()
        try:
            body = bytes([writer]) * size
            s3.put_object(Bucket=BUCKET, Key=key, Body=body, IfNoneMatch="*", Metadata={"writer": str(writer)})
        except ClientError as error:
            return f"{error.response['ResponseMetadata']['HTTPStatusCode']}"
        return f"won {writer}"

    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(25):
            key = f"race/{size}/{number}"
            outcomes = list(pool.map(lambda writer, key=key: write(key, writer), range(WRITERS)))
            (winner,) = [outcome for outcome in outcomes if outcome.startswith("won")]
            assert Counter(outcomes) == {winner: 1, "412": WRITERS - 1}
            answer = s3.get_object(Bucket=BUCKET, Key=key)
            writer = int(winner.split()[1])
            assert answer["Body"].read() == bytes([writer]) * size
            assert answer["Metadata"] == {"writer": str(writer)}


def test_wrong_secret_is_rejected_and_only_loopback_listens(store: Store) -> None:
    with pytest.raises(ClientError) as rejected:
        client(store, "wrong").list_buckets()
    assert status(rejected) == 403
    assert store.child is not None
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.Process(store.child.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    for path in store.data_dir.glob("*.properties"):
        assert path.stat().st_mode & 0o077 == 0


def test_objects_and_metadata_survive_a_kill_and_a_restart(jars: Path, tmp_path: Path) -> None:
    for attempt in range(2):
        store = build(jars, tmp_path)
        store.start()
        store.wait_ready()
        s3 = client(store)
        if attempt == 0:
            s3.create_bucket(Bucket=BUCKET)
            s3.put_object(Bucket=BUCKET, Key="a/b", Body=b"kept", Metadata={"rows": "1"})
            assert store.child is not None
            psutil.Process(store.child.pid).kill()
        else:
            answer = s3.get_object(Bucket=BUCKET, Key="a/b")
            assert (answer["Body"].read(), answer["Metadata"]) == (b"kept", {"rows": "1"})
        store.stop()
        assert not port_in_use(store.port)


def test_runs_on_the_bundled_java_when_the_machine_has_none(jars: Path, tmp_path: Path) -> None:
    java = find_java(environ={"PATH": ""})
    assert java.bundled
    store = build(jars, tmp_path, java)
    store.start()
    try:
        store.wait_ready()
        s3 = client(store)
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key="x", Body=b"1", Metadata={"a": "b"}, IfNoneMatch="*")
        assert s3.get_object(Bucket=BUCKET, Key="x")["Metadata"] == {"a": "b"}
    finally:
        store.stop()


def test_file_system_without_attributes_is_rejected(
    jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", unsupported)
    with pytest.raises(PartError, match="keeps no extended attributes"):
        build(jars, tmp_path).start()


def test_stop_is_quick_with_an_open_connection(jars: Path, tmp_path: Path) -> None:
    store = build(jars, tmp_path)
    store.start()
    store.wait_ready()
    client(store).list_buckets()
    store.stop()  # may write the class archive
    store.start()
    store.wait_ready()
    client(store).list_buckets()
    begun = time.monotonic()
    store.stop()
    assert time.monotonic() - begun < 8
