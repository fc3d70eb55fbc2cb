"""The jars of Kafka, s3proxy and Spark's connectors: fetched once by Ivy, checked by SHA-256 ever after.

Each set is a list of pinned coordinates, `jars/ivy-<set>.xml`; `jars/SHA256SUMS` has the sum of every jar.
`python -m ticklake_local.jars --write-sums` writes the sums after a list was changed, and `--fetch spark --into DIR`
fills a folder with one set, which is how an image gets its jars.
"""

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ticklake.errors import StageError
from ticklake_local.java import Java, find_java, truststore_options

SETS = ("kafka", "s3proxy", "spark")

Progress = Callable[[str, int, int], None]

_DATA = Path(__file__).parent / "jars"
_SUMS = _DATA / "SHA256SUMS"
_STAMP = "checked.json"
# Lines of Ivy after which going on is of no use; what it has by then stays in its cache for the next try.
_HOPELESS = re.compile(r"module not found: .*|\[FAILED +\].*|Server access error.*|.*impossible to .*", re.IGNORECASE)


class JarsError(StageError):
    """The jars cannot be had. The message is one line for a person."""


def ensure_jars(java: Java, cache: Path, on_progress: Progress = lambda *_: None) -> dict[str, Path]:
    """Return each set's folder in `cache`, fetching what is missing or damaged.

    `on_progress` is called with set, jars done, and jars in all, from one thread at a time, and only while fetching.
    Callers at the same time wait for each other. Raises JarsError; what was fetched by then shortens the next try.
    """
    sums, folders = _read_sums(), _folders(cache)
    if not missing_sets(cache):
        return folders
    with _lock(cache) as lock:
        wanted = missing_sets(cache)
        turn = threading.Lock()

        def report(name: str, done: int, total: int) -> None:
            with turn:
                on_progress(name, done, total)

        with ThreadPoolExecutor(len(SETS)) as pool:
            jobs = [pool.submit(_install, java, name, folders[name], sums[name], report, lock) for name in wanted]
        for job in jobs:
            job.result()
    return folders


def missing_sets(cache: Path) -> list[str]:
    """The sets of which `cache` has not every jar as it was recorded; damaged ones are deleted."""
    sums, folders = _read_sums(), _folders(cache)
    return [name for name in SETS if not _intact(folders[name], sums[name])]


def _folders(cache: Path) -> dict[str, Path]:
    return {name: cache / f"{name}-{_version(sums)}" for name, sums in _read_sums().items()}


def _intact(folder: Path, sums: dict[str, str]) -> bool:
    """Whether all jars of the set are there and right; a jar that is not right is deleted.

    A jar whose size and modification time are those of its last full check is taken as unchanged.
    """
    try:
        stamp: dict[str, list[int]] = json.loads((folder / _STAMP).read_text())
    except (OSError, ValueError):
        stamp = {}
    found: dict[str, list[int]] = {}
    for name, expected in sums.items():
        jar = folder / name
        with contextlib.suppress(OSError):
            state = jar.stat()
            seen = [state.st_size, state.st_mtime_ns]
            if stamp.get(name) == seen or _sha256(jar) == expected:
                found[name] = seen
            else:
                jar.unlink()
    if found.keys() != sums.keys():
        return False
    if stamp != found:
        _write_atomically(folder / _STAMP, json.dumps(found))
    return True


def _install(java: Java, name: str, folder: Path, sums: dict[str, str], report: Progress, lock: int) -> None:
    """Fetch the set, check it, and put what the folder lacks in place, each jar by one rename."""
    work = folder.parent / f".fetch-{name}"
    fetched = work / "jars"
    shutil.rmtree(fetched, ignore_errors=True)
    report(name, 0, len(sums))
    _fetch(java, name, work / "ivy-cache", fetched, lambda done: report(name, min(done, len(sums)), len(sums)), lock)
    wrong = sorted(jar for jar, expected in sums.items() if _sha256_or_none(fetched / jar) != expected)
    if wrong:
        shutil.rmtree(work)  # Ivy's cache too, or the next try would find the same
        raise JarsError(f"{name}: fetched, but not what was recorded (SHA-256): {', '.join(wrong)}")
    folder.mkdir(parents=True, exist_ok=True)
    for stray in set(folder.glob("*.jar")) - {folder / jar for jar in sums}:
        stray.unlink()
    for jar in sums:
        if not (folder / jar).exists():
            (fetched / jar).replace(folder / jar)
    if not _intact(folder, sums):
        raise JarsError(f"{name}: {folder} changed while it was filled")
    shutil.rmtree(work, ignore_errors=True)
    report(name, len(sums), len(sums))


def _fetch(java: Java, name: str, ivy_cache: Path, target: Path, on_count: Callable[[int], None], lock: int) -> None:
    """Have Ivy copy the set's jars to `target`; `on_count` is called with the number of jars downloaded so far."""
    command = [
        java.executable,
        "-XX:TieredStopAtLevel=1",
        "-Djava.net.useSystemProxies=true",
        *truststore_options(java, ivy_cache),
        "-jar",
        _ivy(),
        "-settings",
        _DATA / "ivysettings.xml",
        "-cache",
        ivy_cache,
        "-ivy",
        _DATA / f"ivy-{name}.xml",
        "-retrieve",
        f"{target}/[artifact]-[revision].[ext]",
    ]
    # Ivy holds the lock too: should this process be killed, no other fetch starts before Ivy has ended as well.
    process = subprocess.Popen(
        [str(word) for word in command],
        text=True,
        errors="replace",
        pass_fds=(lock,) if lock >= 0 else (),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    downloaded, last, reason = 0, "no output", None
    with process:
        for line in process.stdout or ():
            last = line.strip() or last
            if "[SUCCESSFUL ]" in line:
                downloaded += 1
                on_count(downloaded)
            elif found := _HOPELESS.search(line):
                reason = found[0].strip()
                process.terminate()
                break
    if reason is not None or process.returncode != 0:
        raise JarsError(
            f"the jars of {name} cannot be fetched from Ivy's public repository (is there a network? "
            f"behind a proxy: JAVA_TOOL_OPTIONS=-Dhttps.proxyHost=…): {reason or last}"
        )


def _ivy() -> Path:
    # The package pyspark brings it, and so does every Spark distribution.
    found = importlib.util.find_spec("pyspark")
    home = os.environ.get("SPARK_HOME")
    roots = [*([Path(found.origin).parent] if found and found.origin else []), *([Path(home)] if home else [])]
    jars = [jar for root in roots for jar in sorted(root.glob("jars/ivy-*.jar"))]
    if not jars:
        raise JarsError("the package pyspark, which brings Ivy, is not installed, and SPARK_HOME names no Spark")
    return jars[0]


def _read_sums() -> dict[str, dict[str, str]]:
    sums: dict[str, dict[str, str]] = {name: {} for name in SETS}
    for line in _SUMS.read_text().splitlines():
        digest, _, path = line.partition("  ")
        name, _, jar = path.partition("/")
        sums[name][jar] = digest
    return sums


def _version(sums: dict[str, str]) -> str:
    # A changed list gets a folder of its own, so that servers still running from the old one keep their jars.
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()[:8]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_or_none(path: Path) -> str | None:
    return _sha256(path) if path.is_file() else None


def _write_atomically(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)


@contextlib.contextmanager
def _lock(cache: Path) -> Iterator[int]:
    cache.mkdir(parents=True, exist_ok=True)
    handle = os.open(cache / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def write_sums(java: Java) -> int:
    """Fetch every set again and write SHA256SUMS. Returns the number of jars."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name in SETS:
            target = Path(folder, name)
            _fetch(java, name, Path(folder, f"ivy-{name}"), target, lambda _: None, lock=-1)
            lines += [f"{_sha256(jar)}  {name}/{jar.name}\n" for jar in sorted(target.iterdir())]
    _write_atomically(_SUMS, "".join(lines))
    return len(lines)


def fetch_set(java: Java, name: str, folder: Path) -> int:
    """Fill `folder` with the checked jars of one set and nothing else. Returns their number; raises JarsError."""
    sums = _read_sums()[name]
    folder.parent.mkdir(parents=True, exist_ok=True)
    _install(java, name, folder, sums, lambda *_: None, lock=-1)
    (folder / _STAMP).unlink()
    return len(sums)


def main() -> None:
    """Rewrite the sums, or fetch one set; exit code 1 with one line where that fails."""
    parser = argparse.ArgumentParser(description="The jars that the platform's Java programs need")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--write-sums", action="store_true", help="fetch all, rewrite SHA256SUMS")
    task.add_argument("--fetch", choices=SETS, metavar="SET", help=f"fetch one set ({', '.join(SETS)}) into --into")
    parser.add_argument("--into", type=Path, metavar="DIR", help="the folder to fill")
    arguments = parser.parse_args()
    if arguments.fetch and arguments.into is None:
        parser.error("--fetch needs --into")
    try:
        if arguments.fetch:
            print(f"{fetch_set(find_java(), arguments.fetch, arguments.into)} jars in {arguments.into}")
        else:
            print(f"{write_sums(find_java())} jars recorded in {_SUMS}")
    except JarsError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
