"""The cluster id of a Kafka object, by the real client against a server that keeps one object as the API does."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from json_handler import JsonHandler
from kubernetes import client

from provision_store.kafka_cluster_id import KafkaObject, restore
from ticklake.errors import ConfigurationError, StageError

PATH = "/apis/kafka.strimzi.io/v1/namespaces/market/kafkas/ticklake"
PAUSE = "strimzi.io/pause-reconciliation"
SEEN = {"conditions": [{"type": "ReconciliationPaused", "status": "True"}]}
OLD, NEW = "XP9FP2P-RByvEy0W4cOEUA", "Y_RJQDGKRXmNF7fEcWldJQ"


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


class Api(ThreadingHTTPServer):
    """One Kafka object; `after_patch` is what another writer does to it after each change of its status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.found: dict[str, Any] | None = None
        self.status = 200
        self.patches: list[str] = []
        self.after_patch: Callable[[dict[str, Any]], dict[str, Any]] = lambda found: found


class Handler(JsonHandler):
    server: Api

    def do_GET(self) -> None:  # noqa: N802
        self._answer()

    def do_PATCH(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        api, status = self.server, self.path.endswith("/status")
        api.patches.append(self.path.removeprefix(PATH))
        if api.found is not None and api.status == 200:
            # Like the API server: what is not asked for by the path is left as it is.
            part = {"status": body["status"]} if status else {k: v for k, v in body.items() if k != "status"}
            api.found = merged(api.found, part)
            if status:
                api.found = api.after_patch(api.found)
        self._answer()

    def _answer(self) -> None:
        there = self.path.removesuffix("/status") == PATH and self.server.found is not None
        code = self.server.status if self.server.status != 200 else 200 if there else 404
        self.reply(code, self.server.found if code == 200 else {"kind": "Status", "code": code})


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def kafka(api: Api) -> KafkaObject:
    settings = client.Configuration(host=f"http://127.0.0.1:{api.server_port}")
    settings.retries = False
    return KafkaObject(client.CustomObjectsApi(client.ApiClient(settings)), "ticklake", "market")


def object_of(status: dict[str, Any] | None, *, paused: bool = True) -> dict[str, Any]:
    annotations = {PAUSE: "true", "other": "kept"} if paused else {"other": "kept"}
    return {"metadata": {"name": "ticklake", "annotations": annotations}, "spec": {}, "status": status or {}}


def test_a_paused_object_gets_the_id_before_it_goes_on(api: Api, kafka: KafkaObject) -> None:
    api.found = object_of(SEEN)
    restore(kafka, OLD)
    assert api.patches == ["/status", ""]
    assert api.found["status"]["clusterId"] == OLD
    assert api.found["metadata"]["annotations"] == {"other": "kept"}


def test_an_object_that_goes_on_is_left_alone(api: Api, kafka: KafkaObject) -> None:
    api.found = object_of({"clusterId": OLD}, paused=False)
    restore(kafka, OLD)
    assert api.patches == []


def test_a_pause_that_came_back_only_ends(api: Api, kafka: KafkaObject) -> None:
    """A rollback applies the manifest of the first revision again."""
    api.found = object_of(SEEN | {"clusterId": OLD})
    restore(kafka, OLD)
    assert api.patches == [""]
    assert PAUSE not in api.found["metadata"]["annotations"]


def test_strimzi_is_waited_for(api: Api, kafka: KafkaObject) -> None:
    api.found = object_of(None)
    with pytest.raises(StageError, match="is its operator running"):
        restore(kafka, OLD)
    assert api.patches == []


def test_a_status_that_is_replaced_meanwhile_is_set_again(api: Api, kafka: KafkaObject) -> None:
    api.found = object_of(SEEN)
    api.after_patch = lambda found: found | {"status": SEEN}
    with pytest.raises(StageError, match="replaced at the same time"):
        restore(kafka, OLD)
    assert api.found["metadata"]["annotations"][PAUSE] == "true"
    api.after_patch = lambda found: found
    restore(kafka, OLD)
    assert (api.found["status"]["clusterId"], api.patches[-1]) == (OLD, "")


@pytest.mark.parametrize("paused", [True, False])
def test_another_id_is_an_error(api: Api, kafka: KafkaObject, paused: bool) -> None:
    api.found = object_of(SEEN | {"clusterId": NEW}, paused=paused)
    with pytest.raises(ConfigurationError, match=f"cluster id {NEW}, not {OLD}: set kafka.clusterId"):
        restore(kafka, OLD)
    assert api.found["status"]["clusterId"] == NEW


def test_an_object_without_pause_and_id_is_waited_for(api: Api, kafka: KafkaObject) -> None:
    api.found = object_of(SEEN, paused=False)
    with pytest.raises(StageError, match="no cluster id yet"):
        restore(kafka, OLD)
    assert api.patches == []


@pytest.mark.parametrize(("status", "error"), [(403, ConfigurationError), (404, StageError), (503, StageError)])
def test_answers_of_the_api(api: Api, kafka: KafkaObject, status: int, error: type[StageError]) -> None:
    api.found, api.status = object_of(SEEN), status
    with pytest.raises(error, match=f"answers {status}"):
        restore(kafka, OLD)
