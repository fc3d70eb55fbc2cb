"""Names and topics of alerts."""

from ticklake import topics


def test_the_names_that_others_rely_on() -> None:
    live = topics.live_names()
    assert (live.alerts_topic, live.alerts_group) == ("stock-market-alerts", "stock-market-alerts-group")
    assert live.alerts_state_topic == "stock-market-alerts-state"
    assert live.delivery_group("slack") == "stock-market-alerts-delivery-slack"
    specs = {spec.name: spec for spec in topics.live_topics(live)}
    assert specs["stock-market-alerts"].partitions == 1
    assert specs["stock-market-alerts"].config["retention.ms"] == str(7 * 86_400_000)
    assert specs["stock-market-alerts-state"].config["cleanup.policy"] == "compact"


def test_a_flow_of_its_own_shares_none() -> None:
    def every(live: topics.LiveNames) -> set[str]:
        groups = {live.delivery_group(target) for target in ("webhook", "slack", "email")}
        return groups | {live.alerts_topic, live.alerts_state_topic, live.alerts_group}

    flows = [every(topics.live_names(name)) for name in ("", "state", "delivery-slack", "slack", "a.b")]
    assert len(set().union(*flows)) == 6 * len(flows)
