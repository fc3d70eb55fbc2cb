"""Evaluates NetworkPolicies: which pod may open a connection to which, and on which port.

A connection needs the sender's egress and the receiver's ingress to allow it. A pod that no policy of a direction
selects is free in that direction. Addresses outside the cluster have no policies of their own.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from chart_objects import NAMESPACE, Manifest

Flow = tuple[str, str, str]
"""From, to, `protocol/port`."""


@dataclass(frozen=True)
class Endpoint:
    """A pod, or an address outside the cluster."""

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = NAMESPACE
    address: str | None = None
    """Set for what is no pod."""


def flows(
    policies: Iterable[Manifest], endpoints: Mapping[str, Endpoint], ports: Iterable[tuple[str, int]]
) -> set[Flow]:
    """All connections that are allowed between the endpoints; those outside the namespace at both ends left out."""
    specs = [each["spec"] for each in policies]
    out = {name: _rules(specs, "Egress", each) for name, each in endpoints.items()}
    into = {name: _rules(specs, "Ingress", each) for name, each in endpoints.items()}
    found = set()
    for source, sender in endpoints.items():
        for target, receiver in endpoints.items():
            if source == target or NAMESPACE not in (_place(sender), _place(receiver)):
                continue
            leaving = _towards(out[source], "to", receiver)
            arriving = _towards(into[target], "from", sender)
            found |= {(source, target, f"{port[0]}/{port[1]}") for port in ports if leaving(port) and arriving(port)}
    return found


def _place(endpoint: Endpoint) -> str:
    return "" if endpoint.address else endpoint.namespace


def _rules(specs: Iterable[Manifest], direction: str, own: Endpoint) -> list[Manifest] | None:
    """The rules of one direction that an endpoint is under; None where it is free."""
    if _place(own) != NAMESPACE:
        return None
    mine = [each for each in specs if direction in each["policyTypes"] and selects(each["podSelector"], own.labels)]
    return [rule for each in mine for rule in each.get(direction.lower()) or ()] if mine else None


def _towards(rules: list[Manifest] | None, peers: str, other: Endpoint) -> Callable[[tuple[str, int]], bool]:
    """Which ports of or from `other` the rules allow."""
    if rules is None:
        return lambda port: True
    fitting = [rule for rule in rules if not rule.get(peers) or any(_peer(each, other) for each in rule[peers])]
    if any(not rule.get("ports") for rule in fitting):
        return lambda port: True
    named = {(each.get("protocol", "TCP"), each["port"]) for rule in fitting for each in rule["ports"]}
    return named.__contains__


def _peer(peer: Manifest, other: Endpoint) -> bool:
    if "ipBlock" in peer:
        # As networks do it: blocks are for addresses outside; pods are matched by their labels.
        if other.address is None:
            return False
        block, address = peer["ipBlock"], ip_address(other.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(each) for each in block.get("except", ())
        )
    if other.address is not None:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif other.namespace != NAMESPACE:
        return False
    return selects(peer.get("podSelector", {}), other.labels)


def selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for each in selector.get("matchExpressions", ()):
        if each["operator"] != "In":
            raise NotImplementedError(each["operator"])
        if labels.get(each["key"]) not in each["values"]:
            return False
    return True
