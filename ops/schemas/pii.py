"""``millstream schemas pii``: where each tagged field goes, and as what."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table as Shown

from flows import settings as settings_
from flows.enforced.loading import enforced
from flows.enforced.topic import Enforced
from flows.streams import LABELS, PAYMENTS, STREAMS, Stream
from flows.streams.chargebacks import outcome_tables
from operators.contracts import ContractError
from operators.privacy import Privacy, Sealable, Treats
from operators.records.tables import Table

_CAME = "as it came"
_WHOLE = "encrypted with its record"
_OUTCOMES = outcome_tables()[1]
"""What labels are made of."""


@dataclass(frozen=True)
class Goes:
    """A tagged field of a stream, a table or topic that it goes to, and what that has of it."""

    stream: str
    field: str
    tag: str
    kind: str
    to: str
    has: str


def listed(args: argparse.Namespace) -> int:
    """Print where tagged fields go; returns 0."""
    try:
        found = [each for stream in [*STREAMS, *enforced()] for each in goes(stream)]
    except (ContractError, settings_.SettingsError) as error:
        settings_.refuse(error, 2)
    if args.json:
        json.dump([asdict(each) for each in found], sys.stdout, indent=2)
        print()
        return 0
    table = Shown("stream", "field", "tag", "", "to", "has it", box=None, pad_edge=False)
    for each in found:
        table.add_row(*asdict(each).values())
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
    return 0


def goes(stream: Stream) -> Iterator[Goes]:
    """Yield where each tagged field of a stream goes, or of an enforced topic.

    Raises ContractError and SettingsError.
    """
    if isinstance(stream, Enforced):
        dlq, validated = stream.dlq, stream.validated
    else:
        own = settings_.declared(stream)
        dlq, validated = own.dlq_topic, None
    privacy = stream.privacy
    for name, tag in privacy.tags.items():
        mine = stream.name, name, tag
        for table in _tables(stream, name):
            yield Goes(*mine, "table", table.name, _has(privacy, name))
        for sink, table in _whole(stream):
            yield Goes(*mine, "table", table.name, _WHOLE if privacy.seals(sink) else _CAME)
        letters = _WHOLE if privacy.seals("dead_letters") else _CAME
        yield Goes(*mine, "topic", dlq, letters)
        if validated is not None:
            # Its readers have what the producers have sent.
            yield Goes(*mine, "topic", validated, _CAME)
        if stream is PAYMENTS and name in LABELS.fields and name in _OUTCOMES.columns:
            topic = settings_.declared(LABELS).topic
            yield Goes(*mine, "topic", topic, _has(privacy, name))
        if stream.rules and name == stream.key:
            yield Goes(*mine, "topic", own.alerts_topic, _has(privacy, name, "alerts"))
        if stream.decides and name == stream.key:
            yield Goes(*mine, "topic", own.decisions_topic, _has(privacy, name, "decisions"))


def _tables(stream: Stream, name: str) -> Iterator[Table]:
    # Of a chargeback they have what no tag is on.
    joined = outcome_tables() if stream is PAYMENTS else []
    yield from (each for each in [*stream.all_tables, *joined] if name in each.columns)


def _whole(stream: Stream) -> list[tuple[Sealable, Table]]:
    found: list[tuple[Sealable, Table]] = [("quarantine", stream.quarantine)]
    return [("bronze", stream.bronze), *found] if stream.alone else found


def _has(privacy: Privacy, name: str, *sinks: Treats) -> str:
    steps = [privacy.of(sink).get(name) for sink in ("silver", *sinks)]
    return ", then ".join(each for each in steps if each) or _CAME


COMMAND = (
    "pii",
    listed,
    "list where personal data goes",
    "List each field that is tagged as personal data (`pii`) with every table and topic that it "
    "goes to, and what that has of it, as the contracts say.",
)
"""Its name, what runs it, and what it says that it is, in short and at length."""
