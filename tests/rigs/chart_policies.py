"""What is demanded of every pod. A policy is a function that yields what is wrong with a pod, a line each."""

import re
from collections.abc import Callable, Iterator

from chart_objects import Manifest, PodTemplate

Policy = Callable[[PodTemplate], Iterator[str]]

_TOKEN_USERS = re.compile(
    r"^((SparkApplication/.*-stream-analytics|task (daily-analytics|rebuild-windows)) driver"
    r"|Job/.*-kafka-cluster-id-\d+)$"
)
"""Pods that talk to the Kubernetes API."""
_SECRET_NAME = re.compile(r"PASSWORD|PASSPHRASE|SECRET|ACCESS_KEY|API_KEY|TOKEN|CREDENTIAL|CONNECTION|WEBHOOK")
_UID_FLOOR = 100


def _security(pod: PodTemplate, container: Manifest, key: str) -> object:
    own = container.get("securityContext", {})
    return own.get(key, pod.spec.get("securityContext", {}).get(key))


def non_root(pod: PodTemplate) -> Iterator[str]:
    """A fixed user that is not root, and no way to become it."""
    for each in pod.containers:
        uid = _security(pod, each, "runAsUser")
        if _security(pod, each, "runAsNonRoot") is not True or not isinstance(uid, int) or uid < _UID_FLOOR:
            yield f"{each['name']} may run as root (user {uid})"
        if each.get("securityContext", {}).get("allowPrivilegeEscalation") is not False:
            yield f"{each['name']} may gain privileges"
        if each.get("securityContext", {}).get("privileged"):
            yield f"{each['name']} is privileged"


def read_only(pod: PodTemplate) -> Iterator[str]:
    """A root file system that cannot be written to, and a /tmp that can."""
    for each in pod.containers:
        if each.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{each['name']} can write to its root file system"
        if "/tmp" not in [mount["mountPath"] for mount in each.get("volumeMounts", ())]:
            yield f"{each['name']} has no /tmp to write to"


def no_capabilities(pod: PodTemplate) -> Iterator[str]:
    """No capability, and the runtime's seccomp profile."""
    for each in pod.containers:
        capabilities = each.get("securityContext", {}).get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
            yield f"{each['name']} has capabilities"
        if (_security(pod, each, "seccompProfile") or {}) != {"type": "RuntimeDefault"}:
            yield f"{each['name']} has no seccomp profile"


def limits(pod: PodTemplate) -> Iterator[str]:
    """Requests and limits of processor and memory."""
    for each in pod.containers:
        if sized := pod.sized.get(each["name"]):
            wanted = {"coreRequest", "coreLimit", "memory", "memoryOverhead"}
            given = {key for key in wanted if sized.get(key)}
        else:
            resources = each.get("resources", {})
            wanted = {f"{kind}.{what}" for kind in ("requests", "limits") for what in ("cpu", "memory")}
            given = {f"{kind}.{what}" for kind in ("requests", "limits") for what in resources.get(kind, ())}
        if missing := sorted(wanted - given):
            yield f"{each['name']} lacks {', '.join(missing)}"


def probes(pod: PodTemplate) -> Iterator[str]:
    """What runs on and on says whether it lives and is ready.

    A driver must not say the latter: its executors find it by a headless Service, which knows ready pods only.
    """
    driver = pod.where.startswith("SparkApplication/") and not pod.where.endswith(" executor")
    if pod.kind not in ("Deployment", "StatefulSet") and not driver:
        return
    for each in pod.spec["containers"]:
        for probe in ("livenessProbe",) if driver else ("livenessProbe", "readinessProbe"):
            if probe not in each:
                yield f"{each['name']} has no {probe}"
        for probe in ("startupProbe", "readinessProbe") if driver else ():
            if probe in each:
                yield f"{each['name']} has a {probe}, so that executors would never find it"


def pinned(pod: PodTemplate) -> Iterator[str]:
    """An image of one version."""
    for each in pod.containers:
        tag = each.get("image", "").rpartition("/")[2].partition(":")[2]
        if (not tag or tag.startswith("latest")) and "@sha256:" not in each.get("image", ""):
            yield f"{each['name']} runs {each.get('image')}, which names no version"


def no_plain_secret(pod: PodTemplate) -> Iterator[str]:
    """Secrets come by reference only."""
    for each in pod.containers:
        for variable in each.get("env", ()):
            if _SECRET_NAME.search(variable["name"]) and "value" in variable:
                yield f"{each['name']} has {variable['name']} in plain text"


def no_token(pod: PodTemplate) -> Iterator[str]:
    """No key to the Kubernetes API but where it is used, and an account of its own."""
    if pod.spec.get("automountServiceAccountToken") is not bool(_TOKEN_USERS.match(pod.where)):
        yield "its token for the Kubernetes API is mounted, or left out, against its need"
    if pod.spec.get("serviceAccountName") in (None, "default"):
        yield "it has no service account of its own"


def own_node(pod: PodTemplate) -> Iterator[str]:
    """Nothing of the node it runs on."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(key):
            yield f"it uses {key}"
    for volume in pod.spec.get("volumes", ()):
        if "hostPath" in volume:
            yield f"volume {volume['name']} is a folder of the node"


POLICIES: tuple[Policy, ...] = (
    non_root,
    read_only,
    no_capabilities,
    limits,
    probes,
    pinned,
    no_plain_secret,
    no_token,
    own_node,
)
