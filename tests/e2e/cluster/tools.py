"""kubectl, helm and what else the trial runs: with their output where they fail, and none where they do not."""

import base64
import json
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[3]


class TrialFailed(Exception):
    """Something is not as it must be; the message says what."""


def run(*command: str, text: str | None = None, seconds: float = 900) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        TrialFailed: it failed, or did not end in time.
    """
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise TrialFailed(f"{shlex.join(command)} did not end within {seconds:g} s") from None
    if done.returncode != 0:
        raise TrialFailed(f"{shlex.join(command)} failed:\n{(done.stdout + done.stderr).strip()[-3000:]}")
    return done.stdout


class Cluster:
    """One namespace of the cluster that KUBECONFIG names."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def kubectl(self, *words: str, text: str | None = None, seconds: float = 900) -> str:
        """Run kubectl in the namespace."""
        return run("kubectl", "-n", self.namespace, *words, text=text, seconds=seconds)

    def get(self, kind: str, name: str = "") -> dict[str, Any]:
        """An object, or the list of all of its kind."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, *([name] if name else []), "-o", "json"))
        return found

    def apply(self, manifest: str) -> None:
        """Create or change what is in `manifest`."""
        self.kubectl("apply", "-f", "-", text=manifest)

    def secret(self, name: str, **values: str) -> None:
        """Create or change a Secret."""
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        self.apply(json.dumps(body))

    def secret_of(self, name: str) -> dict[str, str]:
        """The values of a Secret; empty where it is missing."""
        found = self.kubectl("get", "secret", name, "--ignore-not-found", "-o", "json")
        data = json.loads(found)["data"] if found else {}
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def ensure_namespace(self) -> None:
        """Create the namespace where it is missing."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        run("kubectl", "apply", "-f", "-", text=json.dumps(body))

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[int]:
        """A local port that leads to `port` of `target`, such as `svc/store`."""
        local = _free_port()
        command = ["kubectl", "-n", self.namespace, "port-forward", target, f"{local}:{port}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as forward:
            try:
                until(f"port-forward to {target}", 60, lambda: _open(local))
                yield local
            finally:
                forward.terminate()


class Api:
    """What answers with JSON below `/api/v1/` of an address; `name` is for messages."""

    def __init__(self, name: str, address: str) -> None:
        self._name, self.http = name, httpx.Client(base_url=address, timeout=60)

    def get(self, path: str, **params: Any) -> Any:
        """An answer.

        Raises:
            TrialFailed: it is an error.
        """
        answer = self.http.get(f"/api/v1/{path}", params=params)
        if not answer.is_success:
            raise TrialFailed(f"{self._name} answers {answer.status_code} to {path} {params}: {answer.text[:500]}")
        return answer.json()


def until(what: str, seconds: float, ready: Callable[[], Any], pause: float = 1) -> Any:
    """Wait until `ready` gives something true, and return it.

    Raises:
        TrialFailed: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        if time.monotonic() > deadline:
            raise TrialFailed(f"{what}: not within {seconds:g} s")
        time.sleep(pause)
    return found


@contextmanager
def resolves_here(name: str) -> Iterator[None]:
    """Let a name of the cluster mean this machine, so that certificates are checked through a forwarded port."""
    resolve = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *more, **named: resolve("127.0.0.1" if host == name else host, *more, **named)
    try:
        yield
    finally:
        socket.getaddrinfo = resolve


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def has_crd(name: str) -> bool:
    """Whether the cluster knows a kind of object, as its operator brings it."""
    return bool(run("kubectl", "get", "crd", name, "--ignore-not-found", "-o", "name").strip())
