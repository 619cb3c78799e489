"""Kafka's faults: what librdkafka says of them, and which setting or right to look at."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_THREAD: Final = re.compile(r"^\[thrd:.*?\]: ")
_BROKER: Final = re.compile(
    r"^(?:(?:\w+://)?(?P<name>[^\s/]+)/(?P<node>\w+)"
    r"|(?:Group|Txn)Coordinator: (?P<coordinator>\S+:\d+)): "
)
_STATE: Final = re.compile(
    r" \(after \d+ms in state (?P<state>\w+)(?:, \d+ identical error\(s\) suppressed)?\)$"
)
_CODE: Final = re.compile(r"error:[0-9A-F]+:SSL routines::|, verify that ssl\.ca\.location.*$")


NO_TOPIC: Final = "there is no topic "
"""How a fault begins that is of no broker."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a broker, what to look at, and whether it `refuses` us.

    What refuses is there, and trying again will not help soon. `broker` is empty where the
    fault is none of a single one's.
    """

    broker: str
    said: str
    advice: str
    refuses: bool

    @property
    def reason(self) -> str:
        """What is wrong with which broker, in one line."""
        return f"{self.broker}: {self.said}" if self.broker else self.said


def fault_of(text: str) -> Fault:
    """Return the fault that a line of librdkafka's log, or its error's text, is of."""
    text = _THREAD.sub("", text)
    state, broker = _STATE.search(text), _BROKER.match(text)
    said = _CODE.sub("", _BROKER.sub("", _STATE.sub("", text)))
    advice, refuses = _advice(
        said,
        state["state"] if state else "",
        bootstrap=broker is None or broker["node"] == "bootstrap",
    )
    name = broker["name"] or broker["coordinator"] if broker else ""
    return Fault(name, said, advice, refuses)


def _advice(said: str, state: str, *, bootstrap: bool) -> tuple[str, bool]:
    if said.startswith(NO_TOPIC):
        return "create it, or look at the setting that names it (MILLSTREAM_TOPIC, …)", False
    if "certificate verify failed" in said:
        return (
            "look at MILLSTREAM_KAFKA_SSL_CA_LOCATION, which names the certificate (PEM) of who "
            "signed the brokers', and whether these name the host that is connected to"
        ), True
    if re.search(r"sasl|authenticat", said, re.IGNORECASE):
        return (
            "look at MILLSTREAM_KAFKA_SASL_USERNAME, MILLSTREAM_KAFKA_SASL_PASSWORD and "
            "MILLSTREAM_KAFKA_SASL_MECHANISM"
        ), True
    if "SSL handshake" in said or state in ("SSL_HANDSHAKE", "APIVERSION_QUERY"):
        return (
            "look at MILLSTREAM_KAFKA_SECURITY_PROTOCOL: does the port want TLS or a password, "
            "or neither?"
        ), False
    if "resolve" in said and bootstrap:
        return "look at the host's name in MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS", False
    if bootstrap:
        return (
            "check that the brokers run, and look at MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS"
            + (" and MILLSTREAM_KAFKA_SECURITY_PROTOCOL" if "onnect" in said else "")
        ), False
    return (
        "check that this broker runs and can be reached from here under that name, which is what "
        "it says of itself (advertised.listeners)"
    ), False


def denied(
    config: Mapping[str, str],
    operation: str,
    name: str,
    needs: Sequence[str],
    kind: str = "topic",
) -> str:
    """Return what to grant where an operation is not allowed; `needs` are all that are needed."""
    user = config.get("sasl.username")
    who = f"user {user!r}" if user else "this client"
    needed = f"{', '.join(needs[:-1])} and {needs[-1]}" if len(needs) > 1 else needs[0]
    return (
        f"Kafka at {config.get('bootstrap.servers', '')}: {who} may not {operation} {kind} "
        f"{name!r}: grant it {needed} on that {kind}"
    )
