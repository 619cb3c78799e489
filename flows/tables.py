"""Tables: those of a stream, with what their rows are made by today."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Final

from flows.rows import ALL_RULES
from flows.streams import Stream
from flows.streams.settings import StreamSettings
from operators.columns.durations import micros
from operators.connectors.delta.definitions import History, Told
from operators.connectors.delta.parts import LATENESS as LATENESS
from operators.decisions.columns import MODEL
from operators.decisions.thresholds import Thresholds, load_thresholds
from operators.event_time.watermarks import Bounds
from operators.model import SCORE
from operators.records.tables import Table
from operators.rules.lists import LISTED
from operators.rules.rule import OWN_COLUMNS, Rule
from operators.rules.rules import RuleSet
from operators.rules.status import LIVE
from operators.windows import Windows

WINDOW: Final = "window"
WITHIN: Final = "within"
CHANGES: Final = "changes"
LOOKUP: Final = "lookup"
BY_MODEL: Final = "decided by model"
"""Told of decisions for which there was a model: its name, version and hash."""

UNNAMED: Final = "1"
"""What is told of a model instead where decisions did not name it yet."""

OF_EVERY: Final = "decided on every"
"""Told where each event has a decision, also those that are plainly approved."""


BY_CHANGES: Final = "decided by changes"
"""Told where decisions name the changes of lists and thresholds that they are made by."""


def feature(column: str) -> str:
    """Return what the definition of a feature's column is called."""
    return f"feature {column}"


def rule(name: str) -> str:
    """Return what a rule's definition is called."""
    return f"rule {name}"


def status(name: str) -> str:
    """Return what a rule's status is called: its `standing`, told where it is not just live."""
    return f"status {name}"


CONTROL: Final = "control"
"""What it is called that a control topic is followed."""


def own_column(name: str) -> str:
    """Return what a column is called that not all rows of its table have been given."""
    return f"column {name}"


def threshold(name: str) -> str:
    """Return what a threshold of decisions is called."""
    return f"threshold {name}"


def thresholds_of(stream: Stream, own: StreamSettings) -> Thresholds:
    """Return the thresholds of a stream's decisions, as they are declared; raises RuleError."""
    return load_thresholds(own.rules, stream.rules)


def aggregate(name: str) -> str:
    """Return what the definition of a window's aggregate is called."""
    return f"aggregate {name}"


def out_of_orderness(topic: str) -> str:
    """Return what that of a topic is called."""
    return f"out-of-orderness of {topic}"


def defined(stream: Stream, own: StreamSettings, rules: RuleSet | None) -> list[Table]:
    """Return every table of a stream with what its rows are made by.

    What a feature is made by may change from one row to the next, and so may a rule, that of the
    features that it reads included, and its status. Of a window all rows are by one lateness, one
    definition, and one of each aggregate that they have; of changes all are of one declaration.
    """
    late = {LATENESS: str(micros(own.allowed_lateness))}
    features = columns_of_features(stream)
    silver = {feature(name): text for name, text in features.items()}
    if stream.listing:
        silver[own_column(LISTED)] = " ".join(stream.lists)
    if stream.model is not None:
        silver[own_column(SCORE)] = stream.model.card.definition
    silver[out_of_orderness(own.topic)] = str(micros(own.out_of_orderness))
    of_rules = _of_rules(rules.rules if rules else (), features)
    definitions = {stream.silver.name: silver, stream.alerts.name: of_rules}
    if stream.controlled:
        of_rules[CONTROL] = "followed"
    if stream.decides and rules is not None:
        # What rules were is told of the alerts; here it tells what was decided by which.
        definitions[stream.decisions.name] = of_rules | {
            threshold(name): repr(value)
            for name, value in thresholds_of(stream, own).model_dump().items()
        }
        if MODEL in stream.columns:
            named = stream.model.card.file if stream.model else UNNAMED
            definitions[stream.decisions.name] |= {BY_MODEL: named}
        if stream.controlled:
            definitions[stream.decisions.name] |= {BY_CHANGES: "1"}
        if own.decisions == "all":
            definitions[stream.decisions.name] |= {OF_EVERY: "1"}
    fixed = {stream.late.name: late}
    for name, windows in stream.windows.items():
        fixed[stream.window_table(name).name] = late | of_windows(windows)
    if stream.changes is not None:
        fixed[stream.merged.name] = {CHANGES: repr(stream.changes)}
        # What is kept of them, and how, is no matter of silver.
        fixed[stream.silver.name] = {
            CHANGES: repr(replace(stream.changes, keeps="current", buckets=1))
        }
    return [
        replace(
            each,
            definitions=definitions.get(each.name, each.definitions),
            fixed=fixed.get(each.name, {}),
        )
        for each in stream.all_tables
    ]


def _of_rules(rules: Iterable[Rule], features: Mapping[str, str]) -> dict[str, str]:
    found = {own_column(name): "1" for name in OWN_COLUMNS}
    for each in rules:
        read = (f"{name} {features[name]}" for name in sorted(each.reads & features.keys()))
        found[rule(each.id)] = "; ".join([each.definition, *read])
        # Apart from what it finds, so that it may change while that is still held to the rule.
        if each.standing != LIVE:
            found[status(each.id)] = each.standing
    return found


def columns_of_features(stream: Stream) -> dict[str, str]:
    """Return by column what each feature is made by."""
    texts = stream.features.definitions
    code = {name: texts[each.name] for each in stream.features.coded for name in each.columns}
    return {name: code.get(name) or texts[name] for name in stream.features.columns}


def of_windows(windows: Windows) -> dict[str, str]:
    """Return what the rows of windows are made by, but for the lateness, and each aggregate."""
    return {
        WINDOW: repr(replace(windows, lateness=0, aggregates={})),
        **{aggregate(name): repr(each) for name, each in windows.aggregates.items()},
    }


def bounds(told: History | None, topic: str, now: int) -> Bounds:
    """Return a topic's out-of-orderness in µs as a table tells it; `now` if it tells none."""
    found: list[Told] = [
        each for each in (told or {}).get(out_of_orderness(topic), []) if each.text is not None
    ]
    if not found:
        return Bounds(now)
    return Bounds(int(found[-1].text or 0), tuple(_before(found, topic)))


def _before(found: list[Told], topic: str) -> Iterable[tuple[int, dict[int, int]]]:
    for each, behind in pairwise(found):
        yield int(each.text or 0), behind.of(topic)


def decided_since(told: History | None, topic: str) -> dict[int, int]:
    """Return by partition up to which offsets all decisions were made by what has changed since."""
    found: dict[int, int] = {}
    for entries in (told or {}).values():
        for partition, offset in entries[-1].written_of(topic).items():
            found[partition] = max(offset, found.get(partition, -1))
    return found


def rules_since(told: History | None, topic: str) -> dict[str, dict[int, int]]:
    """Return, by rule and partition, up to which offsets a rule as it was has spoken, inclusive.

    As it was is also with another status. `ALL_RULES` stands for all, as no topic changed them.
    """
    found: dict[str, dict[int, int]] = {}
    for name, entries in (told or {}).items():
        if name.startswith((rule(""), status(""))) and entries[-1].written:
            last = found.setdefault(name.partition(" ")[2], {})
            for partition, offset in entries[-1].written_of(topic).items():
                last[partition] = max(offset, last.get(partition, -1))
    if (followed := (told or {}).get(CONTROL)) and followed[-1].written:
        found[ALL_RULES] = followed[-1].written_of(topic)
    return found
