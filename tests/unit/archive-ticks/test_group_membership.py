"""When a member of the archive's group rejoins, and when it counts as whole."""

import re

import pytest

from archive_ticks.group_membership import Group, Membership

NONE: frozenset[int] = frozenset()
ALL = frozenset({0, 1, 2, 3})


def group(settled: bool = True, **owned: set[int]) -> Group:
    return Group(settled, ALL, {member: frozenset(partitions) for member, partitions in owned.items()})


@pytest.mark.parametrize(
    ("found", "reads"),
    [
        (group(me={0, 1, 2, 3}), ALL),
        (group(me={0, 1}, other={2, 3}), frozenset({0, 1})),
        (group(me=set(), other={0, 1}, third={2, 3}), NONE),  # to spare
    ],
)
def test_a_member_in_its_place_of_a_group_that_owns_all(found: Group, reads: frozenset[int]) -> None:
    membership = Membership()
    assert [membership.fault(found, "me", reads, now) for now in (0, 100)] == [None, None]
    assert membership.whole


@pytest.mark.parametrize(
    ("found", "reads", "message"),
    [
        (group(), None, "among the group's members"),  # nobody is in the group
        (group(other={0, 1, 2, 3}), NONE, "among the group's members"),
        (group(me={0, 1, 2, 3}), None, "never got to know"),  # the answer to the join was lost
        (group(me={0, 1}, other={2, 3}), ALL, r"\[0, 1, 2, 3\].*\[0, 1\]"),
        (group(me={0, 1, 2, 3}), frozenset({0, 1}), r"\[0, 1\].*\[0, 1, 2, 3\]"),
        (group(me={0, 1}, other={2}), frozenset({0, 1}), r"\[3\] have no owner"),
        (group(me=set()), NONE, r"\[0, 1, 2, 3\] have no owner"),
    ],
)
def test_what_stays_wrong_for_five_seconds_is_a_fault(found: Group, reads: frozenset[int] | None, message: str) -> None:
    membership = Membership()
    for now in (10.0, 12.5, 14.9):
        assert membership.fault(found, "me", reads, now) is None
        assert not membership.whole
    fault = membership.fault(found, "me", reads, 15.0)
    assert fault is not None
    assert re.search(message, fault)


def test_a_rebalance_and_a_good_moment_start_the_clock_anew() -> None:
    for between, whole in ((group(settled=False), False), (group(me={0, 1, 2, 3}), True)):
        membership = Membership()
        assert membership.fault(group(), "me", ALL, 0) is None
        assert membership.fault(between, "me", ALL, 4) is None
        assert membership.whole is whole
        assert membership.fault(group(), "me", ALL, 6) is None
        assert membership.fault(group(), "me", ALL, 10.9) is None
        assert membership.fault(group(), "me", ALL, 11) is not None


def test_patience_doubles_up_to_a_minute_until_all_is_well() -> None:
    membership, now, waited = Membership(), 0.0, []
    for _ in range(6):
        began = now
        while membership.fault(group(), "me", None, now) is None:
            now += 2.5
        waited.append(now - began)
    assert waited == [5, 10, 20, 40, 60, 60]
    membership.fault(group(me={0, 1, 2, 3}), "me", ALL, now)
    assert [membership.fault(group(), "me", None, now + after) is None for after in (0, 4.9, 5)] == [True, True, False]
