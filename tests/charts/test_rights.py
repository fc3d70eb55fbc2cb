"""Each stage's user of Kafka and of the store may do what its program does, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from chart_objects import VALUE_SETS, Manifest, find, render
from chart_rights import PROGRAMS, StorePolicy, kafka_rights, record, results, store_rights

from stream_analytics.query_failures import RESET
from stream_analytics.settings import StreamAnalyticsSettings, StreamSettings
from ticklake import keys, topics
from ticklake.pipeline import BATCH_STAGES, Stage
from ticklake.settings import CatalogSettings

LIVE = topics.live_names()

STORE = store_rights(LIVE)


@pytest.fixture
def policies(rendered: Callable[[str], list[Manifest]]) -> dict[str, StorePolicy]:
    """The policies in production, where every part is on."""
    data = find(rendered("production"), "ConfigMap", "ticklake-store-policies")["data"]
    return {
        key.removesuffix(".json"): StorePolicy(text, keys.BUCKET) for key, text in data.items() if key != "bucket.json"
    }


def test_every_user_of_the_store_is_looked_at(policies: dict[str, StorePolicy]) -> None:
    assert set(policies) == set(STORE.reads) == set(STORE.writes)


@pytest.mark.parametrize(
    ("action", "wanted"),
    [("GetObject", STORE.reads), ("PutObject", STORE.writes), ("DeleteObject", STORE.removes)],
    ids=lambda x: str(x)[:12],
)
def test_rights_in_the_store(policies: dict[str, StorePolicy], action: str, wanted: dict[str, set[str]]) -> None:
    found = {user: {key for key in STORE.keys if policy.may(action, key)} for user, policy in policies.items()}
    assert found == wanted


def test_what_can_be_read_can_be_listed(policies: dict[str, StorePolicy]) -> None:
    # Without the right to list, a key that is not there is "forbidden" on Amazon S3, not "absent".
    for user in STORE.reads:
        for prefix in STORE.folders(user):
            assert policies[user].may_list(prefix), (user, prefix)
    assert not policies["fetch-historical"].may_list("processed/historical/")
    assert not any(policy.may_list("") for policy in policies.values())


@pytest.mark.parametrize("stage", BATCH_STAGES, ids=lambda stage: stage.program)
def test_a_stage_reaches_what_it_says_to_read_and_write(policies: dict[str, StorePolicy], stage: Stage) -> None:
    prefixes = {"objects": "{}/x.csv", "table": "tables/market/{}/metadata/x.json"}
    for action, places in (("GetObject", stage.reads), ("PutObject", stage.writes)):
        for place in places:
            if place.kind in prefixes:
                assert policies[stage.program].may(action, prefixes[place.kind].format(place.name))
    for before in stage.upstream:
        assert policies[stage.program].may("GetObject", record(before.program))
    for program in PROGRAMS:
        for key in results(program):
            assert policies[stage.program].may("PutObject", key) == (program == stage.program)


@pytest.mark.parametrize(
    ("user", "folder"),
    [
        ("daily-analytics", keys.PROCESSED_DAILY),
        ("daily-analytics", "tables"),
        ("stream-analytics", "tables"),
        ("rebuild-windows", LIVE.raw_prefix),
        ("rebuild-windows", keys.PROCESSED_LIVE),
        ("rebuild-windows", "tables"),
        ("stream-analytics", LIVE.checkpoint_prefix),
        ("stream-analytics", keys.PROCESSED_LIVE),
        ("daily-analytics", "spark-events"),
        ("stream-analytics", "spark-events"),
    ],
)
def test_s3a_may_look_at_the_parents_of_what_it_makes(policies: dict[str, StorePolicy], user: str, folder: str) -> None:
    """It asks of each parent folder whether it is an object, and whether something lies in it."""
    parts = folder.split("/")
    for end in range(1, len(parts) + 1):
        parent = "/".join(parts[:end])
        assert policies[user].may("GetObject", parent)
        assert policies[user].may_list(f"{parent}/")
    assert not policies[user].may("GetObject", "quarantine")


def test_new_checkpoints_lie_where_their_stage_may_write(helm: Path) -> None:
    """By the command that stream-analytics gives where its checkpoints are of another topic."""
    option = next(word for word in RESET.split() if word.startswith("stages.")).rstrip(")")
    objects = render(helm, *VALUE_SETS["default"], "--set", option)
    driver = find(objects, "SparkApplication", "ticklake-stream-analytics")["spec"]["driver"]["template"]["spec"]
    variables = {each["name"]: each.get("value") for each in driver["containers"][0]["env"]}
    stream = StreamSettings(checkpoint=variables["TICKLAKE_WINDOWS_CHECKPOINT"])
    settings = StreamAnalyticsSettings(stream=stream, catalog=CatalogSettings(uri="sqlite:////data/catalog.db"))
    policies = find(objects, "ConfigMap", "ticklake-store-policies")["data"]
    policy = StorePolicy(policies["stream-analytics.json"], keys.BUCKET)
    for query in settings.queries:
        key = settings.checkpoint(query).removeprefix(f"s3a://{keys.BUCKET}/")
        assert "/reset-1/" in key
        for action in ("GetObject", "PutObject", "DeleteObject"):
            assert policy.may(action, f"{key}/metadata")
        assert policy.may_list(f"{key}/")


@pytest.mark.parametrize("name", ["default", "kind", "production"])
def test_rights_in_kafka(rendered: Callable[[str], list[Manifest]], name: str) -> None:
    users = [each for each in rendered(name) if each["kind"] == "KafkaUser"]
    found = {}
    for user in users:
        assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
        assert user["spec"]["authorization"]["type"] == "simple"
        acls = user["spec"]["authorization"]["acls"]
        assert all("Describe" in acl["operations"] for acl in acls)
        assert all(acl["resource"]["patternType"] == "literal" for acl in acls)
        found[user["metadata"]["name"].removeprefix("ticklake-")] = {
            ("group" if acl["resource"]["type"] == "group" else operation.lower(), acl["resource"]["name"])
            for acl in acls
            for operation in acl["operations"]
            if operation != "Describe"
        } | {
            (f"look at {acl['resource']['type']}", acl["resource"]["name"])
            for acl in acls
            if acl["operations"] == ["Describe"]
        }
    assert found == kafka_rights(LIVE)


def test_rights_of_airflow(rendered: Callable[[str], list[Manifest]]) -> None:
    """Pods and SparkApplications in its namespace, and nothing else."""
    objects = rendered("production")
    role = find(objects, "Role", "ticklake-airflow")
    made = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert {resource for resource, verb in made if verb == "create"} == {"pods", "pods/exec", "sparkapplications"}
    assert {resource for resource, verb in made if verb == "delete"} == {"pods", "sparkapplications"}
    assert not {resource for resource, _ in made} & {"secrets", "configmaps", "serviceaccounts", "roles", "*"}
    assert not {verb for _, verb in made} & {"*", "deletecollection", "update"}
    bound = find(objects, "RoleBinding", "ticklake-airflow")["subjects"]
    assert [each["name"] for each in bound] == ["airflow-scheduler"]
    assert not [each["kind"] for each in objects if each["kind"] in ("ClusterRole", "ClusterRoleBinding")]
