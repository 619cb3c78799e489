"""Cases: a rule's examples, run as the flow would run the events they describe."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

import schemas
from operators.avro import columns_of, values_of_fields
from operators.records.tables import COORDINATES, TIME
from operators.rules.lists import LISTED
from operators.rules.rule import Case, Rule
from operators.rules.rules import RuleError, RuleSet

START: Final = datetime(2024, 1, 1, 12, tzinfo=UTC)
"""When the first event of a case takes place."""

_SIMPLE: Final = {"string", "boolean", "int", "long", "float", "double"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Known:
    """That the event at an offset is known to be something, from a time on in µs."""

    offset: int
    since: int
    verdict: str


@dataclass(frozen=True)
class Fixture:
    """What the events of cases are, and what a flow would know of them.

    `example` is what an event is like where a case does not say; other fields have their schema's
    default; the columns `unknown` are null. `features` adds to events in order what the flow adds,
    given what is known of them from labels, if they are `labelled`. Where there are `lists` an
    event may say what it is `listed` on, as silver does.
    """

    record: str
    id_column: str
    key_column: str
    example: Mapping[str, Any]
    features: Callable[[Sequence[Known]], Callable[[pl.DataFrame], pl.DataFrame]]
    unknown: Mapping[str, pl.DataType] = field(default_factory=dict)
    lists: bool = False
    labelled: bool = False


def example_of(schema: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    """Return values that the fields of a schema may have, but for those that have a default.

    Those that are neither texts nor numbers are left out.
    """
    return {
        each["name"]: _value(each["name"], each["type"])
        for each in schema["fields"]
        if "default" not in each and each["name"] not in without and _simple(each["type"])
    }


def _simple(avro: Any) -> bool:
    if isinstance(avro, dict):
        return avro["type"] == "enum" or (avro["type"] in _SIMPLE and "logicalType" not in avro)
    return isinstance(avro, str) and avro in _SIMPLE


def _value(name: str, avro: Any) -> Any:
    if isinstance(avro, dict) and avro["type"] == "enum":
        return avro["symbols"][0]
    kind = avro["type"] if isinstance(avro, dict) else avro
    return {"string": f"{name.removesuffix('_id')}-1", "boolean": False, "double": 0.0}.get(
        kind, 0
    )


_VERDICTS: Final = {"fraud_after": "FRAUD", "genuine_after": "GENUINE"}
"""The fields of a case's event that say how long after it became known what it is."""

_AFTER: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


def _after(text: str) -> timedelta:
    """Read a time such as 8m59s or 3h; raises ValueError for text of another form."""
    found = _AFTER.fullmatch(text)
    if found is None or not text:
        raise ValueError(f"after: {text!r} is no time such as 30s, 8m59s, 3h or 1d12h")
    days, hours, minutes, seconds, millis = (int(part or 0) for part in found.groups())
    return timedelta(days, seconds, 0, millis, minutes, hours)


def events(fixture: Fixture, case: Case) -> pl.DataFrame:
    """Return a case's events with the schema's fields, coordinates and the Kafka time.

    Raises ValueError for a field that they don't have or a value that is none of its.
    """
    schema = schemas.latest(fixture.record)
    fields, types = values_of_fields(schema), columns_of(schema)
    if fixture.lists:
        types[LISTED], fields[LISTED] = pl.String(), ""
    rows = []
    for offset, given in enumerate(case.events):
        beside = {"after", *(_VERDICTS if fixture.labelled else ())}
        stated = {k: v for k, v in given.items() if k not in beside}
        unknown = sorted(stated.keys() - fields.keys() | stated.keys() & {"event_time"})
        if unknown:
            raise ValueError(
                f"{fixture.record} {offset + 1}: {', '.join(unknown)}: no field of a case"
            )
        time = START + _after(str(given.get("after", "0s")))
        rows.append(
            {**fields, **fixture.example, fixture.id_column: f"{fixture.record}-{offset + 1}"}
            | {"event_time": time}
            | stated
            | {"source_topic": "case", "source_partition": 0, "source_offset": offset}
            | {"kafka_timestamp": time}
        )
    columns = {**COORDINATES, "kafka_timestamp": TIME, **types, **fixture.unknown}
    try:
        return pl.DataFrame(rows, schema=columns)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise ValueError(str(error).splitlines()[0]) from error


def _known(case: Case) -> list[Known]:
    return [
        Known(offset, time // timedelta(microseconds=1), verdict)
        for offset, given in enumerate(case.events)
        for name, verdict in _VERDICTS.items()
        if name in given
        for time in [
            START - _EPOCH + _after(str(given.get("after", "0s"))) + _after(str(given[name]))
        ]
    ]


def run_case(fixture: Fixture, rule: Rule, case: Case) -> list[int]:
    """Return which of the case's events, counted from 1, raise an alert.

    Raises RuleError for a rule that cannot be used, that fails on one of the events, or that says
    of an event alone other than of the same event among others.
    """
    frame = events(fixture, case)
    frame = fixture.features(_known(case) if fixture.labelled else [])(frame)
    rules = RuleSet([rule], frame.schema, fixture.id_column, fixture.key_column)
    together = rules.evaluate(frame)
    for failure in together.failures:
        number = failure.event["source_offset"][0] + 1
        raise RuleError(
            f"rule {rule.id}, {case.name}: {fixture.record} {number}: {failure.error}"
        )
    alone = [rules.evaluate(frame[i]).alerts for i in range(frame.height)]
    if not pl.concat(alone).equals(together.alerts):
        raise RuleError(f"rule {rule.id}, {case.name}: it depends on more than one event")
    return [offset + 1 for offset in together.alerts["source_offset"]]


def failing(fixture: Fixture, rules: Iterable[Rule]) -> list[str]:
    """Return what is wrong with the cases of rules, a line for each that does not hold."""
    found = [failing_case(fixture, rule, case) for rule in rules for case in rule.cases]
    return [problem for problem in found if problem is not None]


def failing_case(fixture: Fixture, rule: Rule, case: Case) -> str | None:
    """Return what is wrong with a case of a rule, None if it holds."""
    try:
        alerts = run_case(fixture, rule, case)
    except RuleError as error:
        return str(error)
    except ValueError as error:
        return f"rule {rule.id}, {case.name}: {error}"
    if alerts == case.alerts:
        return None
    return f"rule {rule.id}, {case.name}: alerts at {alerts}, not {case.alerts}"
