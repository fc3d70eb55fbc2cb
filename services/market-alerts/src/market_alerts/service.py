"""The loop of market-alerts: read ticks, evaluate, publish alerts, then save the state, then commit."""

import threading
import time
from contextlib import ExitStack

from market_alerts import state_topic
from market_alerts.evaluation import PartitionEvaluator
from market_alerts.metrics import Metrics
from market_alerts.notifier_pool import NotifierPool
from market_alerts.publisher import AlertPublisher
from market_alerts.reader import TickReader
from market_alerts.recovery import position, recover
from market_alerts.rules_reload import RulesReloader
from market_alerts.settings import AlertSettings
from ticklake import credentials, kafka, logs
from ticklake.credentials import Rejected
from ticklake.errors import StageError
from ticklake.kafka import ConfirmedProducer
from ticklake.metrics import Health, served
from ticklake.service import Attempts, Heartbeat, TopicIdentity

log = logs.get(__name__)

_POLL_SECONDS = 0.2
_MONITOR_SECONDS, _MONITOR_TIMEOUT = 5.0, 2.0
_TOPIC_CHECK_SECONDS = 60.0
_JOIN_SECONDS, _MAX_JOIN_SECONDS = 20.0, 80.0
"""How long to wait for an assignment before rejoining the group; doubled each time, for the sake of slow machines."""
_STOP_COMMIT_SECONDS, _LEAVE_SECONDS = 2.0, 1.0


class MarketAlerts:
    """One process of the service."""

    def __init__(self, settings: AlertSettings, metrics: Metrics | None = None, rejected: Rejected = str) -> None:
        """Read the rules and check what can be checked before anything runs.

        Raises:
            ConfigurationError: rules or settings are wrong, or a topic is missing.
            StageError: the broker does not answer.
        """
        self._settings, self._live, self._metrics = settings, settings.live.names, metrics or Metrics()
        self._rejected = rejected
        self._attempts, self._heartbeat = Attempts(lambda _: self._metrics.kafka_errors.inc(), rejected), Heartbeat()
        self._reloader = RulesReloader(settings, self._metrics)
        self._notifiers = NotifierPool(settings, self._metrics)
        self._topic = TopicIdentity(settings.kafka, self._live.topic)
        for topic in (self._live.alerts_topic, self._live.alerts_state_topic):
            kafka.topic_id(settings.kafka, topic)
        self._partitions: dict[int, PartitionEvaluator] = {}
        self._reader = TickReader(
            settings.kafka, self._live, settings.alerts.session_timeout_seconds, lambda number: self._resume_at(number)
        )
        self._joined_at = self._saved_at = time.monotonic()
        self._join_seconds, self._broker_answers = _JOIN_SECONDS, False

    def run(self, stop: threading.Event) -> None:
        """Evaluate until `stop` is set, then save the state, commit and leave the group.

        Raises:
            ConfigurationError: the client may not use a topic or the group.
            IntegrityError: the live topic was recreated, or a position is outside the log.
            StageError: the broker did not accept an alert or the state; the next start continues from the last commit.
        """
        with ExitStack() as stack:
            health = Health(self._heartbeat.alive, self._ready, self._rejected)
            port = stack.enter_context(served(health, self._settings.metrics_port))
            stack.callback(self._reader.close, _LEAVE_SECONDS)
            producer = stack.enter_context(ConfirmedProducer(self._settings.kafka, "market-alerts", linger_ms=2))
            self._publish_rules(producer)
            publisher = AlertPublisher(producer, self._live, self._metrics)
            stack.callback(self._notifiers.stop)
            self._notifiers.start()
            log.info(
                "started",
                topic=self._live.topic,
                rules=[rule.name for rule in self._reloader.rules],
                targets=self._notifiers.targets,
                metrics_port=port,
            )
            while not stop.is_set():
                self._step(producer, publisher)
            self._notifiers.request_stop()
            self._save(producer, publisher, _STOP_COMMIT_SECONDS)

    def _step(self, producer: ConfirmedProducer, publisher: AlertPublisher) -> None:
        self._heartbeat.beat()
        attempt = self._attempts.attempt
        attempt(self._follow_assignment)
        if self._settings.alerts.rules_reload_seconds:
            attempt(self._reloader.poll, self._settings.alerts.rules_reload_seconds)
            self._apply_rules(producer, publisher)
        attempt(self._recover_new)
        self._notifiers.set_active(0 in self._partitions)
        attempt(self._monitor, _MONITOR_SECONDS)
        attempt(self._topic.check_topic, _TOPIC_CHECK_SECONDS)
        try:
            found = self._reader.poll(_POLL_SECONDS)
        except StageError as error:
            self._broker_answers = False
            self._attempts.failed("read", error)
            time.sleep(_POLL_SECONDS)
            return
        publisher.evaluate(self._partitions, found)
        for partition in self._partitions.values():
            # Past offsets without a message, such as the mark at a transaction's end.
            partition.next_offset = max(partition.next_offset, self._reader.position(partition.number))
        if time.monotonic() - self._saved_at >= self._settings.alerts.state_seconds:
            self._save(producer, publisher, self._settings.kafka.timeout_seconds)

    def _resume_at(self, number: int) -> int | None:
        partition = self._partitions.get(number)
        return None if partition is None else partition.next_offset

    def _follow_assignment(self) -> None:
        if not self._reader.joined:
            if time.monotonic() - self._joined_at > self._join_seconds:
                self._joined_at = time.monotonic()
                log.warning("rejoining the group", group=self._live.alerts_group, after=self._join_seconds)
                self._join_seconds = min(2 * self._join_seconds, _MAX_JOIN_SECONDS)
                self._reader.rejoin(_LEAVE_SECONDS)
            return
        self._joined_at, self._join_seconds = time.monotonic(), _JOIN_SECONDS
        for number in set(self._partitions) - self._reader.assigned:
            del self._partitions[number]
            self._metrics.lag.remove_by_labels({"partition": str(number)})
            log.info("partition revoked", partition=number)

    def _recover_new(self) -> None:
        """Read new partitions from where their last owner committed, with the state from then."""
        new = sorted(self._reader.assigned - set(self._partitions))
        if not new or not self._reader.joined:
            return
        rules = self._reloader.rules
        partitions, restored = recover(self._settings, self._reader, self._topic.id, rules, new)
        for each in partitions:
            self._partitions[each.number], each.others = each, self._partitions
            self._reader.start(each.number, each.next_offset)
        log.info(
            "reading",
            partitions=new,
            offsets=[each.next_offset for each in partitions],
            to_catch_up=sum(each.catch_up_until - each.next_offset for each in partitions),
            series=restored,
        )

    def _publish_rules(self, producer: ConfirmedProducer) -> None:
        state_topic.publish_rules(producer, self._live, self._reloader.rules)
        producer.confirm()

    def _apply_rules(self, producer: ConfirmedProducer, publisher: AlertPublisher) -> None:
        """Put pending rules in force, if there are any, between two ticks.

        The state under the old rules is saved before, so that a crash from here on finds what is to be withdrawn in the
        state, and what was withdrawn on the alerts topic; the state under the new ones is saved after.
        """
        if self._reloader.pending is None or not (self._reader.joined and self._broker_answers):
            return
        if not all(partition.caught_up for partition in self._partitions.values()):
            return  # what is evaluated again after a crash is to be evaluated under the same rules throughout
        seconds = self._settings.kafka.timeout_seconds
        if not self._save(producer, publisher, seconds):
            return  # the partitions may be reassigned by now: once the group is stable
        self._reloader.apply()
        for partition in self._partitions.values():
            partition.apply_rules(self._reloader.rules)
        self._publish_rules(producer)
        self._save(producer, publisher, seconds)

    def _save(self, producer: ConfirmedProducer, publisher: AlertPublisher, seconds: float) -> bool:
        """The state to its topic, and only then the commit: from what is committed another can continue.

        Returns:
            whether nothing is left to save.
        """
        self._saved_at = time.monotonic()
        if not self._reader.joined:
            return False
        publisher.publish_withdrawals(self._partitions.values())
        moved = [each for each in self._partitions.values() if each.moved or each.next_offset != each.saved_offset]
        if not moved:
            return True
        with self._metrics.state_seconds.time():
            for partition in moved:
                state_topic.save_state(producer, self._live, self._topic.id, partition)
            for partition in moved:
                state_topic.forget_moved(producer, self._live, self._topic.id, partition)
            producer.confirm()
            for partition in moved:
                partition.mark_published(publisher.alerts_end)
            positions = {each.number: position(each) for each in moved}
            try:
                self._reader.commit(positions, seconds)
            except StageError as error:  # in a rebalance, for one
                self._attempts.failed("save", error)
                return False
        for partition in moved:
            partition.saved_offset = positions[partition.number].offset
        return True

    def _monitor(self) -> None:
        self._broker_answers = False
        ends = self._reader.ends(self._partitions.keys(), _MONITOR_TIMEOUT)
        self._broker_answers = True
        for number, end in ends.items():
            self._metrics.lag.labels(str(number)).set(max(0, end - self._partitions[number].next_offset))

    def _ready(self) -> bool:
        return self._reader.joined and self._broker_answers and self._reader.assigned <= self._partitions.keys()


def run(settings: AlertSettings, stop: threading.Event) -> None:
    """Watch the live topic of `settings` until `stop` is set.

    Raises:
        CredentialsError: Kafka rejected the credentials for too long.
        StageError: as `MarketAlerts` and its `run`.
    """
    credentials.watched(
        settings, stop, lambda rejected: MarketAlerts(settings, rejected=rejected).run(stop), kafka=settings.kafka
    )
