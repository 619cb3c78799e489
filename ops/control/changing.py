"""Changing: what is known of a stream's changes, and further ones sent."""

import argparse
import getpass
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NoReturn

from flows import control
from flows import settings as settings_
from flows.settings import Settings, SettingsError
from flows.streams import STREAMS, Stream
from flows.streams.settings import parse_duration
from operators.connectors.kafka import control_topic
from operators.control.changes import Change, ChangeError, Content, Kind, Span, written
from operators.control.state import State
from operators.features import FeatureError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def add_options(parser: argparse.ArgumentParser, *, changes: bool) -> None:
    """Add what all commands have, and those that change something."""
    parser.add_argument(
        "--stream",
        choices=[each.name for each in STREAMS if each.rules],
        default=STREAMS[0].name,
        help="whose control topic (default: %(default)s)",
    )
    if changes:
        parser.add_argument("--why", required=True, metavar="TEXT", help="the reason")
        parser.add_argument("--who", metavar="NAME", help="who does it (default: this user)")
        parser.add_argument(
            "--at",
            type=moment,
            metavar="TIME",
            help="from when on it is to hold, ISO 8601; 5 s after it was sent unless stated",
        )
    else:
        parser.add_argument("--json", action="store_true", help="print JSON")


def moment(text: str) -> datetime:
    """Return a time that a person states, in UTC unless it says so."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def until(text: str) -> datetime:
    """Return a time that is stated, or how far it is from now, such as 30d."""
    try:
        return datetime.now(UTC) + parse_duration(text)
    except ValueError:
        return moment(text)


@dataclass(frozen=True)
class Changing:
    """A stream's changes: those that there are, and a way to send more."""

    settings: Settings
    stream: Stream
    topic: str

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Changing":
        """Return those of the stream that is named; ends the process where there are none."""
        (declared,) = (each for each in STREAMS if each.name == args.stream)
        variable = f"{settings_.prefix_of(declared)}CONTROL_TOPIC"
        try:
            settings = settings_.load()
            stream = settings.stream(declared)
        except (SettingsError, FeatureError) as error:
            settings_.refuse(error, 2)
        topic = settings.of(declared).control_topic
        if topic is None:
            settings_.refuse(
                f"{variable} is not set: name the topic of changes, for the flows too", 2
            )
        timeout = settings.start_timeout.total_seconds()
        control_topic.ensure(settings.kafka, topic, timeout)
        return cls(settings, stream, topic)

    @cached_property
    def state(self) -> State:
        """What there is."""
        return self.anew()

    def anew(self) -> State:
        """Return what there is by now."""
        found = control.recorded(self.settings, self.stream)
        assert found is not None  # noqa: S101 # there is a topic
        return found

    @property
    def now(self) -> int:
        """The time, in µs."""
        return time.time_ns() // 1000

    def named(self, kind: Kind) -> dict[str, list[Span]]:
        """Return all that is known of a kind, by name, the first spans first."""
        found: dict[str, list[Span]] = {}
        for each in self.state.spans:
            if each.change.kind == kind:
                found.setdefault(each.change.name, []).append(each)
        return found

    def send(
        self, args: argparse.Namespace, changes: Sequence[tuple[Kind, str, Content]]
    ) -> list[Change]:
        """Send changes, and return them as the topic has them; ends the process if it can't."""
        who = args.who or _user()
        try:
            records = [
                written(kind, name, content, who, args.why, args.at)
                for kind, name, content in changes
            ]
        except ChangeError as error:
            settings_.refuse(error, 1)
        timeout = self.settings.start_timeout.total_seconds()
        offsets = {*control_topic.send(self.settings.kafka, self.topic, records, timeout)}
        keys = {key for key, _ in records}
        return [
            each
            for each in self.anew().changes
            if each.offset in offsets and each.key.encode() in keys
        ]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def shown(us: int) -> str:
    """Return a time in µs as people read it."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat(" ", "milliseconds")[:-6] + " UTC"


def refuse(text: str) -> NoReturn:
    """End the process with what is wrong."""
    settings_.refuse(text, 1)
