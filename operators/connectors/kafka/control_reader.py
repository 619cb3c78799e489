"""The reader of a control topic: all of it at the start, then what comes, by a thread."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from operators import metrics
from operators.connectors.delta.errors import StorageUnavailableError
from operators.connectors.kafka import client as kafka
from operators.connectors.kafka.brokers import brokers_of
from operators.connectors.outage import PATIENCE, Outage, wait_for
from operators.connectors.pulse import PULSE
from operators.connectors.shutdown import SHUTDOWN
from operators.control.changes import SLACK, Change
from operators.control.pauses import Pauses
from operators.control.records import ControlRecord, Unfit
from operators.control.state import State
from operators.errors import KnownError

LOG: Final = logging.getLogger("millstream.control")

_EVERY: Final = 0.2
_LOOK: Final = 0.01
_SAY_AFTER: Final = 10.0
_AHEAD: Final = 60_000_000


class ControlError(KnownError):
    """The control topic cannot be followed."""


class ControlReader:
    """One process's view of a control topic: what is known, and through which time.

    Until it is back from the topic's end, what is known is known through the time when it went
    there. An event is judged once its Kafka time is at most `SLACK` behind that: a change that
    comes after holds from `DELAY` after its own time on.
    """

    def __init__(
        self,
        config: kafka.Config,
        topic: str,
        identity: str,
        unfit: Unfit,
        history: Sequence[ControlRecord] = (),
        keep: Callable[[Sequence[ControlRecord]], None] = lambda _: None,
    ) -> None:
        """Take the records that the tables have, and what is to `keep` those that are read.

        They hold from when they are kept.
        """
        self._config, self.topic, self.identity = config, topic, identity
        self._pauses, self._paused = Pauses(), list[Change]()
        self._unfit, self._keep = unfit, keep
        self._offset = max((r.offset + 1 for r in history if r.topic_id == identity), default=0)
        self._position: int | None = None
        self.state = State()
        self._known = self._judged = 0
        self._failed: Exception | None = None
        for outcome in ("taken", "late", "refused"):
            metrics.CHANGES.labels(topic, outcome)
        self._add(history)

    def start(self, timeout: float) -> None:
        """Read to the topic's end, and go on by a thread.

        Raises KafkaUnavailableError after `timeout` s, and what `keep` does.
        """
        consumer = kafka.consumer(
            self._config,
            kafka.ANY_GROUP,
            # Changes are sent without transactions.
            **{"isolation.level": "read_uncommitted", "auto.offset.reset": "earliest"},
        )
        consumer.assign([TopicPartition(self.topic, 0, 0)])
        self._look(consumer, timeout)
        follow = threading.Thread(
            target=self._follow, args=(consumer,), name="control", daemon=True
        )
        follow.start()

    def wait(self, until: int) -> None:
        """Wait until all is known that holds at a Kafka time, in µs.

        Raises KnownError where that cannot be, or the flow is told to end and has no more time.
        """
        said = False
        while self._known + SLACK < until:
            if self._failed is not None:
                raise self._failed
            if SHUTDOWN.left <= 0:
                raise ControlError(
                    f"told to end while waiting for control topic {self.topic}: the next start "
                    "reads the records again, nothing is lost"
                )
            PULSE.got_on()
            ahead = until - _now()
            if ahead > _AHEAD and not said:
                said = True
                LOG.warning(
                    "a record is %.0f s ahead of this machine's clock, by its Kafka time: it "
                    "waits so long for changes in topic %s; set its producer's clock",
                    ahead / 1e6, self.topic,
                )  # fmt: skip
            time.sleep(_LOOK)
        self._judged = max(self._judged, until)

    def pauses_from(self, offset: int) -> list[Change]:
        """Return the changes from an offset on by which rules have paused themselves."""
        return [each for each in self._paused if each.offset >= offset]

    def _follow(self, consumer: Consumer) -> None:
        outage = Outage(
            "the history of control",
            LOG,
            ControlError,
            "look at MILLSTREAM_DELTA_ROOT",
            service="storage",
        )
        while True:
            time.sleep(_EVERY)
            try:
                wait_for(
                    lambda: self._look(consumer, PATIENCE), (StorageUnavailableError,), outage
                )
            except Exception as error:  # whoever waits for changes raises it
                self._failed = error
                return

    def _look(self, consumer: Consumer, timeout: float) -> None:
        """Read to the end as it is now, or later."""
        now = _now()
        if self._position is not None:
            # So that the end is told once more, by what is fetched from now on.
            consumer.seek(TopicPartition(self.topic, 0, self._position))
        brokers, began = brokers_of(self._config), time.monotonic()
        found: list[ControlRecord] = []
        while True:
            message = consumer.poll(_EVERY)
            if message is None:
                brokers.bear(consumer, self.topic, began)
                if time.monotonic() - began > timeout and not brokers.outage.seconds:
                    raise brokers.given_up(timeout, f"no answer reading topic {self.topic!r}")
                continue
            error = message.error()
            if error is None:
                found.append(record_of(message, self.identity))
            elif error.code() == KafkaError._PARTITION_EOF:
                end = int(message.offset())
                break
            elif not kafka.of_group(error):
                raise kafka.failure(self._config, self.topic, error)
        if end < self._offset:
            raise ControlError(
                f"control topic {self.topic} ends at {end}, but {self._offset - 1} was read "
                "before: it was made anew; start the flow again, which goes on with the new one "
                "behind what the tables have of the old"
            )
        new = [each for each in found if each.offset >= self._offset]
        if new:
            self._keep(new)
            self._offset = new[-1].offset + 1
            self._add(new)
        self._position, self._known = end, now

    def _add(self, records: Sequence[ControlRecord]) -> None:
        changes = []
        for record in records:
            change, refused = record.usable(self._unfit)
            if change is None:
                metrics.CHANGES.labels(self.topic, "refused").inc()
                LOG.error(
                    "control topic %s: the record at offset %d changes nothing: %s",
                    self.topic, record.offset, refused,
                )  # fmt: skip
                continue
            changes.append(change)
            if self._pauses.add(change) and record.topic_id == self.identity:
                self._paused.append(change)
            late = change.begins <= self._judged
            metrics.CHANGES.labels(self.topic, "late" if late else "taken").inc()
            if late:
                LOG.error(
                    "control topic %s: the change at offset %d came after records that it is for "
                    "had been judged: the brokers' clock and this machine's differ by seconds",
                    self.topic, record.offset,
                )  # fmt: skip
        # Here, where nobody waits for it as long as others have time.
        self.state = self.state.with_changes(changes).made()


def record_of(message: Message, identity: str) -> ControlRecord:
    """Return a message of a topic with this identity as a record."""
    _, time_ = message.timestamp()
    return ControlRecord(
        int(message.offset()), time_ * 1000, message.key(), message.value(), identity
    )


def _now() -> int:
    return time.time_ns() // 1000
