"""Brokers: what the clients of this process say of a cluster, told once, with what to look at."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from operators.connectors.kafka.faults import Fault, fault_of
from operators.connectors.outage import PATIENCE, Outage, wait_for
from operators.connectors.shutdown import SHUTDOWN
from operators.errors import KnownError

LOG: Final = logging.getLogger("millstream.kafka")

ASK_SECONDS: Final = 1.0
"""How long an answer may take that tells whether brokers are there."""

_LOOK_SECONDS: Final = 0.2
_REFUSED_SECONDS: Final = 5.0
_SAY_EVERY: Final = 60.0
# Clients learn one by one that brokers are gone, and that they are back.
_BRIEF_SECONDS: Final = 3.0
# A connection that is lost and made again at once is worth no line.
_PASSING_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_OF_CONNECTIONS: Final = ("FAIL", "ERROR", "FATAL")

Config = Mapping[str, str]
"""librdkafka settings by their own names."""

_Result = TypeVar("_Result")


class KafkaUnavailableError(KnownError):
    """The brokers did not answer in time, or cannot be worked with."""


class Brokers:
    """One cluster, as the clients of this process see it.

    librdkafka tells each fact twice, in its log and to a callback, from each client, and at
    each of its tries. Here that only becomes the reason of the outage's lines. Its clients are
    made with `callbacks()`; threads may share it.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self.clock = config, clock
        self._servers = config.get("bootstrap.servers", "")
        self.outage = Outage(
            f"Kafka at {self._servers}", LOG, KafkaUnavailableError, "", clock, service="kafka"
        )
        self._fault: Fault | None = None
        # Since when a client says that all brokers are gone, and when to ask next if they are.
        self._gone: float | None = None
        self._next, self._pause = 0.0, _FIRST_PAUSE
        self._said: dict[str, float] = {}
        self._failing: dict[str, tuple[float, float]] = {}

    def callbacks(self) -> dict[str, Any]:
        """Return the settings by which a client tells it what it sees; they go last."""
        # When the brokers are back, all clients should be soon: by default within 10 s.
        pause = self._config.get("reconnect.backoff.max.ms", "2000")
        return {"reconnect.backoff.max.ms": pause, "error_cb": self.on_error, "logger": self}

    def admin(self) -> AdminClient:
        """Return a client for questions, to be closed as a context: it has threads.

        It creates no topic by asking for it, as stock ones do.
        """
        own = {"allow.auto.create.topics": "false"}
        return AdminClient({**own, **self._config, **self.callbacks()})

    def log(self, level: int, _: str, facility: str, __: str, text: str) -> None:
        """Take a line of librdkafka's log."""
        if facility in _OF_CONNECTIONS:
            self._note(text)
        else:
            self.say(level, text.removeprefix("[thrd:app]: "))

    def on_error(self, error: KafkaError) -> None:
        """Take what librdkafka tells of errors that belong to no call."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            if self._gone is None:
                self._gone = self.clock()
        else:
            self._note(error.str())

    def _note(self, text: str) -> None:
        fault = self._fault = fault_of(text)
        if self._gone is not None:
            return
        now = self.clock()
        first, last = self._failing.get(fault.broker, (now, now))
        if now - last > _SAY_EVERY:
            first = now
        self._failing[fault.broker] = first, now
        if now - first > _PASSING_SECONDS:
            self.say(logging.WARNING, fault.reason, fault.broker)

    def say(self, level: int, text: str, fact: str = "") -> None:
        """Say something in the log, if no other client has within a minute."""
        now, fact = self.clock(), fact or text
        if now - self._said.get(fact, -_SAY_EVERY) >= _SAY_EVERY:
            self._said = {each: at for each, at in self._said.items() if now - at < _SAY_EVERY}
            self._said[fact] = now
            LOG.log(level, "%s", text)

    def look(self, ask: Callable[[], object]) -> None:
        """Where the brokers seem gone, see now and then whether they answer.

        `ask` is a question that takes ASK_SECONDS at the most. Raises KafkaUnavailableError
        when they have been away for PATIENCE seconds.
        """
        gone = self._gone
        if gone is None or self.clock() < self._next:
            return
        try:
            ask()
        except KafkaException as error:
            reason = self._reason(error)
            if self.clock() - gone > _BRIEF_SECONDS:
                self.outage.failed(reason)
            if self.outage.seconds > PATIENCE:
                raise self.given_up(self.outage.seconds) from error
            self._next = self.clock() + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        else:
            self.answered()

    def bear(self, client: Consumer | Producer, topic: str, began: float) -> None:
        """Look after the brokers while something waits for them since `began`, by `clock`.

        Raises KafkaUnavailableError as `look` does, and once the flow was told to end and has
        no more time.
        """
        self.look(lambda: client.list_topics(topic, timeout=ASK_SECONDS))
        if SHUTDOWN.left <= 0:
            raise self.given_up(self.clock() - began)

    def flush(self, producer: Producer, topic: str, seconds: float) -> int:
        """Wait until a producer's messages are delivered or have failed; return how many are not.

        That is after `seconds` with brokers that answer; those that are away are waited for, see
        `bear`.
        """
        began = self.clock()
        while left := int(producer.flush(_LOOK_SECONDS)):
            self.bear(producer, topic, began)
            if self.clock() - began > seconds and not self.outage.seconds:
                return left
        return 0

    def wait(self, client: AdminClient, ask: Callable[[], _Result], timeout: float) -> _Result:
        """Return what `ask` returns, once it no longer raises KafkaException.

        Raises KafkaUnavailableError after `timeout` seconds, and within a few where the brokers
        refuse us.
        """
        began = self.clock()

        def call() -> _Result:
            try:
                return ask()
            except KafkaException as error:
                client.poll(0)
                waited = self.clock() - began
                if self._fault and self._fault.refuses and waited > _REFUSED_SECONDS:
                    raise self.given_up(waited) from error
                raise

        try:
            result = wait_for(
                call, (KafkaException,), self.outage, patience=timeout, describe=self._reason
            )
        except KafkaUnavailableError as error:
            raise error from None
        self.answered()
        return result

    def answered(self) -> None:
        """Note that the brokers have answered something."""
        if self._gone is None and not self.outage.seconds:
            return
        self._gone, self._pause, self._fault = None, _FIRST_PAUSE, None
        self._failing.clear()
        self.outage.ended()

    def _reason(self, error: Exception) -> str:
        return self._told(error.args[0].str())

    def _told(self, otherwise: str) -> str:
        """Return what clients have said is wrong, or what is known `otherwise`."""
        fault = self._fault or fault_of(otherwise)
        self.outage.advice = fault.advice
        return fault.said if fault.broker == self._servers else fault.reason

    def given_up(self, seconds: float, reason: str = "no answer") -> RuntimeError:
        """Return the error of who has waited in vain for an answer; `reason` if none is known."""
        return self.outage.given_up(seconds, self._told(reason))


_clusters: dict[frozenset[tuple[str, str]], Brokers] = {}


def brokers_of(config: Config) -> Brokers:
    """Return this process's view of the cluster that these settings are of."""
    own = frozenset(item for item in config.items() if item[0] != "group.id")
    return _clusters.setdefault(own, Brokers(config))


def try_seconds(timeout: float) -> float:
    """Return how long one try of a question may take, of those that `timeout` seconds are for."""
    return min(3.0, max(timeout / 4, 0.2))
