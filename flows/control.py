"""Control: what a stream's control topic changes of its rules and lists, while the flow runs."""

from collections.abc import Iterable
from dataclasses import dataclass

from flows.pausing import Pausing, Silence
from flows.privacy import told_to_topics
from flows.reporting import say
from flows.settings import Settings, prefix_of
from flows.streams import Stream
from flows.told import told
from operators.connectors.delta.control_history import CONTROL, ControlHistory
from operators.connectors.kafka import client as kafka
from operators.connectors.kafka import control_topic, topic_ids
from operators.connectors.kafka.control_reader import ControlError, ControlReader, record_of
from operators.control.book import Book
from operators.control.records import ControlRecord, Unfit
from operators.control.state import State
from operators.rules.rule import Rule
from operators.rules.rules import RuleError, Rules, RuleSet


@dataclass(frozen=True)
class Controlled:
    """A reader of a stream's changes, and its rules by time."""

    reader: ControlReader
    book: Book


def follow(
    settings: Settings, stream: Stream, rules: Rules | None, *, keeps: bool
) -> Controlled | None:
    """Return what follows a stream's control topic, which is read to its end; None without one.

    A flow that has tables `keeps` what it reads in them. Raises KnownError for a topic that cannot
    be used or read.
    """
    topic = settings.of(stream).control_topic
    if rules is None:
        return None
    if topic is None:
        _refuse_to_forget(settings, stream)
        return None
    timeout = settings.start_timeout.total_seconds()
    identity = control_topic.ensure(settings.kafka, topic, timeout)
    history = ControlHistory(settings.delta_root, stream.name, identity)
    first = told().process == 0
    reader = ControlReader(
        settings.kafka,
        topic,
        identity,
        unfit_for(stream),
        history.records(),
        *((history.add,) if keeps and first else ()),
    )
    reader.start(timeout)
    pausing = Pausing(settings, topic, reader)
    common = rules.rules, lambda: reader.state, stream.columns, stream.id, stream.key
    # In a backfill the pauses of then are in the topic.
    made = Book(*common) if settings.backfill_from else Book(*common, pausing.judged)
    if first:
        _report(topic, reader.state, rules.rules)
    return Controlled(reader, made)


def evaluated(
    settings: Settings, stream: Stream, rules: RuleSet | None, changes: Controlled | None
) -> Rules | None:
    """Return what evaluates a stream's rules: by time, where something `changes` them.

    Else those of a folder, which are counted as well where some are to alert so often at the least.
    """
    if changes is not None:
        return changes.book
    least = rules is not None and any(r.bounds and r.bounds.least_per_1000 for r in rules.rules)
    if rules is None or not least or settings.backfill_from:
        return rules
    none = State(())
    common = rules.rules, lambda: none, stream.columns, stream.id, stream.key
    return Book(*common, Silence().judged)


def _refuse_to_forget(settings: Settings, stream: Stream) -> None:
    """Refuse to go on without a topic whose changes the tables have."""
    if ControlHistory(settings.delta_root, stream.name, "").records():
        variable = f"{prefix_of(stream)}CONTROL_TOPIC"
        raise ControlError(
            f"{variable} is not set, but rules or lists of {stream.name} have been changed by "
            f"such a topic ({CONTROL.name} has how): set it again"
        )


def _report(topic: str, state: State, rules: Iterable[Rule]) -> None:
    files = {each.id: each for each in rules}
    changed = {
        name: found[-1].change.content
        for name, found in sorted(state.rules.items())
        if isinstance(found[-1].change.content, Rule)
    }
    entries = sum(each.change.kind == "entry" for each in state.spans)
    say(
        f"follows topic {topic}: {len(changed)} rules and {entries} entries of lists are changed"
    )
    for name, rule in changed.items():
        file = files.get(name)
        if file is not None and isinstance(rule, Rule) and file.version > rule.version:
            say(
                f"rule {name}: its file has version {file.version}, but version {rule.version} of "
                f"topic {topic} holds; millstream rules rollback {name} takes the file's"
            )


def unfit_for(stream: Stream) -> Unfit:
    """Return what says why a stream cannot evaluate a rule."""

    def unfit(rule: Rule) -> str | None:
        if not rule.evaluated:
            return None
        try:
            RuleSet([rule], stream.columns, stream.id, stream.key)
        except RuleError as error:
            return str(error)
        return not_listed(stream, rule) or told_to_topics(stream, rule)

    return unfit


def not_listed(stream: Stream, rule: Rule) -> str | None:
    """Say which column a rule looks up in a list that no list of a stream is about."""
    for column in sorted(rule.looked_up - {*stream.lists}):
        return f"rule {rule.id}: lists are about {', '.join(stream.lists)}, not {column}"
    return None


def recorded(settings: Settings, stream: Stream) -> State | None:
    """Return all changes of a stream, from its tables and its topic; None without one.

    Raises KafkaUnavailableError and StorageUnavailableError.
    """
    found = records(settings, stream)
    if found is None:
        return None
    unfit = unfit_for(stream)
    changes = (each.usable(unfit)[0] for each in found)
    return State(each for each in changes if each is not None)


def records(settings: Settings, stream: Stream) -> list[ControlRecord] | None:
    """Return all records of a stream's changes; None without a topic.

    What is not there yet has none. Raises KafkaUnavailableError and StorageUnavailableError.
    """
    topic = settings.of(stream).control_topic
    if topic is None:
        return None
    timeout = settings.start_timeout.total_seconds()
    identity = topic_ids.identify(settings.kafka, [topic], timeout)[topic]
    kept = ControlHistory(settings.delta_root, stream.name, identity).records()
    last = max((each.offset for each in kept if each.topic_id == identity), default=-1)
    messages = kafka.read_to_end(
        settings.kafka, topic, {0: 0}, isolation="read_uncommitted", timeout=timeout
    )
    newer = (record_of(each, identity) for each in messages)
    return [*kept, *(each for each in newer if each.offset > last)]


def book_of(stream: Stream, rules: RuleSet, state: State) -> Book:
    """Return a stream's rules by time, of a state that is known."""
    return Book(rules.rules, lambda: state, stream.columns, stream.id, stream.key)
