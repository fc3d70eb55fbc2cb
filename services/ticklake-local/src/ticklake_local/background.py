"""`ticklake up`, `down` and `status`: a platform with warm stage hosts that stays in the background."""

import contextlib
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from ticklake.errors import StageError
from ticklake_local import platform
from ticklake_local.data_folder import DataFolder, Running
from ticklake_local.environment import java_home
from ticklake_local.platform import Platform, Tools
from ticklake_local.processes import Child
from ticklake_local.stage_host_client import Hosts, make_hosts

_START_SECONDS = 180
_STOP_SECONDS = 60


def up(path: Path) -> None:
    """Start the background platform unless it runs already, and return once it is ready."""
    folder = DataFolder.at(path)
    if folder.running() is None:
        command: list[str | Path] = [sys.executable, "-m", "ticklake_local.main", "serve", "--data", folder.root]
        print("Starting broker, store, warehouse and warm stage hosts in the background …", flush=True)
        server = Child("ticklake serve", command, folder.log("ticklake"), env=os.environ, detached=True)
        try:
            server.wait_ready(lambda: folder.running() is not None, _START_SECONDS)
        except BaseException:
            server.stop(_STOP_SECONDS)  # it is detached, so nobody else would
            raise
    status(path)


def down(path: Path) -> None:
    """Stop the background platform; none running is no error."""
    folder = DataFolder.at(path)
    running = folder.running()
    if running is None:
        print(f"Nothing runs on {folder.root}")
        return
    server = folder.background(running)
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while server.poll() is None:
        if time.monotonic() > deadline:
            raise StageError(f"process {running.pid} did not stop within {_STOP_SECONDS} s; see {server.log_path}")
        time.sleep(0.1)
    print("Stopped")


def status(path: Path) -> None:
    """Print what runs on the folder and how to reach it."""
    folder = DataFolder.at(path)
    running, ports = folder.running(), platform.ports_in_use(folder, "store")
    if ports is None:
        print(f"Nothing runs on {folder.root}; `ticklake up` starts it")
        return
    store = folder.credentials()
    if running is not None:
        print(f"Running in the background (process {running.pid}) on {folder.root}")
    else:
        print(f"Another command runs on {folder.root} (process {folder.holder('platform')})")
    print(f"  Kafka      127.0.0.1:{ports.kafka}")
    print(
        f"  S3         http://127.0.0.1:{ports.store}  access key {store.access_key}, secret key in "
        f"{folder.root / 'credentials.json'}"
    )
    print(f"  Warehouse  127.0.0.1:{ports.warehouse}  (Snowflake's protocol over http; `ticklake sql` asks it)")


def serve(path: Path, cache: Path) -> None:
    """Run the platform and its hosts until SIGTERM. A host that ends is started again.

    Raises:
        PartError: a server ended; everything else is stopped then.
    """
    folder = DataFolder.at(path)
    stop = threading.Event()
    # While it starts, which takes a while, a signal ends it there and then.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        stack.enter_context(folder.locked("platform"))
        here = platform.prepare(folder, platform.prepare_tools(cache, java_home(), print))
        hosts = make_hosts(here, warm=True)
        for host in (hosts.spark, hosts.python):
            stack.callback(host.stop)
            host.start()
        stack.enter_context(platform.started(here, print))
        for host in (hosts.python, hosts.spark):
            host.wait_ready()
        stack.callback(folder.announce, None)
        folder.announce(Running(pid=os.getpid(), created=psutil.Process().create_time(), ports=here.ports))
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stop.set())
        while not stop.wait(1):
            here.check()
            for host in (hosts.python, hosts.spark):
                if host.child is not None and host.child.poll() is not None:
                    print(f"the {host.kind} host ended: starting it again", flush=True)
                    host.restart()


def attached(folder: DataFolder, tools: Tools) -> tuple[Platform, Hosts, int] | None:
    """The background platform on `folder`, its hosts and its process id; None where none runs."""
    running = folder.running()
    if running is None:
        return None
    here = Platform(folder, tools, running.ports, background=running)
    return here, make_hosts(here), running.pid
