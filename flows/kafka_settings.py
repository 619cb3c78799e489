"""librdkafka's settings from the environment: those that pass through, and those that may not."""

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from flows.secret_files import read_secrets

_PREFIX: Final = "MILLSTREAM_KAFKA_"
_TRUE: Final = ("true", "t", "1")
_FALSE: Final = ("false", "f", "0")
_NO_GROUP: Final = "the flow assigns partitions itself and joins no group"
_ACKS: Final = "an epoch is committed once every in-sync replica has its messages"
_HEADERS: Final = (
    "without what newer protocols have, headers are not sent, and they carry the ids by which "
    "nothing is sent twice"
)

NEEDED: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "metadata.broker.list": ((), "the brokers are MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS"),
    "group.id": ((), "the flow's group is MILLSTREAM_CONSUMER_GROUP"),
    "group.instance.id": ((), _NO_GROUP),
    "group.protocol": (("classic",), _NO_GROUP),
    "auto.offset.reset": (
        ("error",),
        "where retention has removed records that were not read, the flow stops; any other value "
        "skips them without a word. Where a first start begins is MILLSTREAM_START",
    ),
    "enable.auto.commit": (_FALSE, "offsets are committed once the tables have the records"),
    "auto.commit.enable": (_FALSE, "offsets are committed once the tables have the records"),
    "offset.store.method": (("broker",), "offsets are the recovery store's and the broker's"),
    "enable.partition.eof": (
        _TRUE,
        "the end of a partition is how the flow knows that it has read all there is",
    ),
    "isolation.level": (
        ("read_committed",),
        "records of aborted transactions would be read as if they were payments",
    ),
    "enable.idempotence": (_TRUE, "a retry could send an alert or a dead letter twice"),
    "acks": (("all", "-1"), _ACKS),
    "request.required.acks": (("all", "-1"), _ACKS),
    "transactional.id": ((), "alerts and dead letters go out once each without transactions"),
    "enable.gapless.guarantee": (_FALSE, "one message that is too large would stop the flow"),
    "delivery.report.only.error": ((), "the flow keeps where each message was delivered to"),
    "api.version.request": (_TRUE, _HEADERS),
    "api.version.fallback.ms": (("0",), _HEADERS),
    "broker.version.fallback": ((), _HEADERS),
    "test.mock.num.brokers": ((), "the flow would read brokers of librdkafka's own making"),
}
"""What the flow needs its own way: the values that are just that, and why no other will do."""

# Python's client takes it for its own.
_PYTHONS: Final = ("logger",)
_SECRET: Final = ("sasl.", "ssl.", "https.")
# As the flows' own clients set it: what contradicts it is refused here.
_PRODUCER: Final[dict[str, Any]] = {"enable.idempotence": True, "log_level": 0}
_CONSUMER: Final[dict[str, Any]] = {"group.id": "check", "log_level": 0}
_DOTTED: Final = re.compile(r"`?(?<![\w/.-])((?:retries|acks)\b|[a-z]+(?:\.[a-z]+)+)`?")
_RANGE: Final = re.compile(r"outside allowed range (\S+)")


def kafka_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return librdkafka's settings: MILLSTREAM_KAFKA_SASL_USERNAME is sasl.username.

    Without those of `NEEDED`, which the flow's clients set themselves.
    """
    environ, _ = read_secrets(environ)
    return {
        name: environ[variable]
        for variable, name in _names(environ).items()
        if name not in NEEDED
    }


def kafka_problems(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each MILLSTREAM_KAFKA_… that cannot be used, by the variable's name.

    Those that librdkafka does not know or whose value it does not take, those that would undo
    a guarantee, and, if there are none of these, what is wrong with them all together. No line
    has a value in it.
    """
    environ, problems = read_secrets(environ)
    problems = [each for each in problems if each.startswith(_PREFIX)]
    names = _names(environ)
    for variable, name in sorted(names.items()):
        if problem := _problem(name, environ[variable]):
            problems.append(f"{variable}: {problem}")
    return problems or _together(environ, names)


def _names(environ: Mapping[str, str]) -> dict[str, str]:
    """Return librdkafka's names by the variables'."""
    names = {
        variable: variable[len(_PREFIX) :].lower().replace("_", ".")
        for variable in environ
        if variable.startswith(_PREFIX)
    }
    # The one setting of librdkafka with an underscore in its own name.
    return {v: "log_level" if name == "log.level" else name for v, name in names.items()}


def _problem(name: str, value: str) -> str | None:
    if name in NEEDED:
        fine, why = NEEDED[name]
        if value.lower() in fine:
            return None
        return f"{f'can only be {fine[0]}' if fine else 'cannot be set'}: {why}"
    if name in _PYTHONS:
        return "librdkafka has no such setting"
    if name == "bootstrap.servers":
        return None
    from confluent_kafka import KafkaException, Producer  # tools need none of it

    try:
        Producer({**_PRODUCER, name: value}, logger=_silent())
    # A value of another type than Python's client expects raises whatever it comes to.
    except (KafkaException, TypeError, AttributeError, ValueError) as error:
        text = _text(error)
        if "No such configuration property" in text:
            return "librdkafka has no such setting"
        if text.startswith("Failed to create producer"):
            # It needs others: said of all of them together, or it contradicts ours.
            return _reason(text) if "idempotence" in text else None
        allowed = _RANGE.search(text)
        return "librdkafka does not take its value" + (
            f", only {allowed[1]}" if allowed else ""
        )
    return None


def _together(environ: Mapping[str, str], names: Mapping[str, str]) -> list[str]:
    from confluent_kafka import Consumer, KafkaException, Producer

    # Without brokers: nothing is to be connected to here.
    config: dict[str, Any] = {
        name: environ[variable]
        for variable, name in names.items()
        if name not in ("bootstrap.servers", "enable.idempotence", "log_level")
    }
    try:
        Producer({**config, **_PRODUCER}, logger=_silent())
        Consumer({**config, **_CONSUMER}, logger=_silent()).close()
    except KafkaException as error:
        shown = _text(error)
        for variable, name in names.items():
            secret = environ[variable]
            if name.startswith(_SECRET) and len(secret) > 2:
                shown = shown.replace(secret, "…")
        return [f"{_PREFIX}…: {_reason(shown)}"]
    return []


def _reason(text: str) -> str:
    """Return what librdkafka says, in the variables' names."""
    said = re.sub(r"^Failed to create \w+: ", "", text).strip()
    return "librdkafka says: " + _DOTTED.sub(lambda m: _variable(m[1]), said)


def _variable(name: str) -> str:
    return _PREFIX + name.replace(".", "_").upper()


def _text(error: Exception) -> str:
    # librdkafka's own; Python's may have the value in them.
    return next((str(each.str()) for each in error.args[:1] if hasattr(each, "str")), "")


def _silent() -> logging.Logger:
    logger = logging.getLogger("millstream.settings.librdkafka")
    logger.disabled = True
    return logger
