"""Filters: which rejects are meant, as options and as SQL."""

import argparse
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

from flows.environment import PREFIX, refuse
from operators.records.fingerprints import KIND, version_of
from operators.records.rejects import Stage
from ops.dlq.quarantine import Place, Quarantine, known_names, open_quarantines, quoted

ROOT = f"{PREFIX}DELTA_ROOT"


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add the options that all commands have."""
    parser.add_argument("--root", help=f"the tables' folder, instead of {ROOT}")
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which rejects are meant; all of them must hold."""
    group = parser.add_argument_group("which rejects")
    group.add_argument("--stream", choices=known_names())
    group.add_argument("--stage", choices=get_args(Stage), help="what refused them")
    group.add_argument("--code", help="why, as the metrics have it")
    group.add_argument("--fingerprint", type=_fingerprint, help="of this kind, see summary")
    group.add_argument(
        "--since", type=_time, metavar="TIME", help="an ISO time (UTC), or 2h for two hours ago"
    )
    group.add_argument("--until", type=_time, metavar="TIME", help="before that time")
    group.add_argument("--partition", type=int, metavar="N", help="of the source topic")
    group.add_argument(
        "--open", action="store_true", help="those that were not sent again, edited or not"
    )
    group.add_argument(
        "--where",
        metavar="SQL",
        help="a condition on the quarantine's columns, stream and time, and on what became of "
        "rejects: state (open, edited, replayed, discarded), replay, edit, discard",
    )


def positive(text: str) -> int:
    """Return a number of 1 or more, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def place(text: str) -> Place:
    """Return topic, partition and offset of a record, for argparse."""
    topic, *numbers = text.rsplit("/", 2)
    if not topic or len(numbers) != 2 or not all(each.isdecimal() for each in numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no record such as payments/0/1234: its topic, partition and offset"
        )
    return topic, int(numbers[0]), int(numbers[1])


def add_one(parser: argparse.ArgumentParser) -> None:
    """Add the record that may be named instead of filters."""
    parser.add_argument(
        "record",
        type=place,
        nargs="?",
        metavar="TOPIC/PARTITION/OFFSET",
        help="one record, instead of filters",
    )


def add_discarded(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is shown of what was discarded."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--discarded", action="store_const", const=True, default=False, help="those alone"
    )
    group.add_argument(
        "--all", dest="discarded", action="store_const", const=None,
        help="those that were discarded, too",
    )  # fmt: skip


def _fingerprint(text: str) -> str:
    if version_of(text) is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no fingerprint such as 1:0123456789abcdef; summary lists them"
        )
    return text


def _time(text: str) -> datetime:
    # Behind what most runs do not need, as it takes a while to import.
    from pydantic import TypeAdapter, ValidationError

    from flows.streams.settings import Duration

    try:
        return datetime.now(UTC) - TypeAdapter(Duration).validate_python(text)
    except (ValidationError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time such as 2026-06-30T12:00 nor a duration such as 2h"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Filters:
    """Which rejects are meant; those that were `discarded` are not, alone or, if None, too."""

    stage: str | None = None
    code: str | None = None
    fingerprint: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    partition: int | None = None
    open: bool = False
    where: str | None = None
    discarded: bool | None = False

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Filters":
        """Return what the options of `add_filters` say, but for the stream."""
        given = {n: getattr(args, n) for n in cls.__dataclass_fields__ if hasattr(args, n)}
        return cls(**given)

    def __bool__(self) -> bool:
        """Tell whether anything is asked for, beside the stream."""
        return any(each is not None and each is not False for each in vars(self).values())

    def condition(self, quarantine: Quarantine) -> str:
        """Return what must hold of the rows of a quarantine, as SQL; "true" if all are meant."""
        parts = [
            f"{name} = {quoted(value)}"
            for name, value in (("stage", self.stage), ("code", self.code))
            if value is not None
        ]
        for sign, time in ((">=", self.since), ("<", self.until)):
            if time is not None:
                parts.append(f"time {sign} TIMESTAMP {quoted(time.isoformat())}")
        if self.partition is not None:
            parts.append(f"source_partition = {self.partition}")
        if self.open:
            parts.append("replay IS NULL")
        if self.discarded is not None and (self.discarded or "discard" in quarantine.acts):
            parts.append(f"discard IS {'NOT ' if self.discarded else ''}NULL")
        if self.where:
            # The line feed ends a comment, so that it cannot take what is behind it along.
            parts.append(f"({self.where}\n)")
        if self.fingerprint is not None:
            parts.append(_of_kind(quarantine, self.fingerprint, " AND ".join(parts) or "true"))
        return " AND ".join(parts) or "true"


def _of_kind(quarantine: Quarantine, fingerprint: str, others: str) -> str:
    """Return what holds of rows with a fingerprint, also of those from before there was one."""
    kinds = quarantine.lacking(others)
    same = [
        " AND ".join(f"({name} IS NOT DISTINCT FROM {quoted(kind[name])})" for name in KIND)
        for kind in kinds.iter_rows(named=True)
        if kind["fingerprint"] == fingerprint
    ]
    old = " OR ".join(f"({each})" for each in same)
    told = f"fingerprint = {quoted(fingerprint)}"
    return f"({told} OR (fingerprint IS NULL AND ({old})))" if old else told


def root_of(args: argparse.Namespace) -> str:
    """Return the tables' folder; ends the process with 2 if none is named."""
    root = args.root or os.environ.get(ROOT)
    if not root:
        refuse(f"no --root, and {ROOT} is not set", 2)
    return str(root)


def opened(args: argparse.Namespace) -> list[Quarantine]:
    """Return the quarantines that the options mean; raises QuarantineError."""
    named = getattr(args, "stream", None)
    return open_quarantines(root_of(args), named and [named])
