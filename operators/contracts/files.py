"""Contract files: ``schemas/<record>/contract.yaml``, read and refused with all their problems."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, Final

from polars.exceptions import PolarsError
from pydantic import BaseModel, ConfigDict, ValidationError

import schemas
from operators import yaml_text
from operators.avro.compatibility import DEFAULT, Level
from operators.columns.durations import micros
from operators.columns.expressions import one_row
from operators.contracts.checks import (
    Check,
    Holds,
    bytes_of,
    one_of,
    pattern,
    span,
    time_in,
)
from operators.contracts.contract import Contract
from operators.contracts.kinds import field_kinds as field_kinds
from operators.contracts.repairs import Repair
from operators.contracts.stated import ANY, StatedRepair
from operators.contracts.stated import Stated as Stated
from operators.privacy import Declared, Privacy, read_tags
from schemas import AvroSchema

_TEXT: Final = {"string", "enum"}
_NUMBER: Final = {"int", "long", "float", "double", "decimal"}
_TIMES: Final = {"timestamp-micros", "timestamp-millis"}
_NONE: Final = "checks: []"


class ContractError(ValueError):
    """A contract cannot be used; the message names every problem."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    compatibility: Level = DEFAULT
    approval: bool = False
    checks: list[Stated]
    repairs: list[StatedRepair] = []
    pii: dict[str, str] = {}
    privacy: Declared = Declared()


@cache
def load_contract(record: str) -> Contract:
    """Return the contract of a record's newest schema; one without a file allows everything.

    Raises ContractError naming all that is wrong with the file.
    """
    text = schemas.contract(record)
    return read_contract(text or _NONE, schemas.latest(record), f"{record}/contract.yaml")


def read_contract(text: str, schema: AvroSchema, name: str) -> Contract:
    """Return the contract that a YAML text states of a schema's records; raises ContractError.

    `name` is what problems begin with.
    """
    stated = _read(text, name)
    return _contract(stated, field_kinds(schema), name, _privacy(stated, schema)[1])


def contract_of(given: Any, fields: Mapping[str, tuple[str, bool]], name: str) -> Contract:
    """Return the contract that is stated, as YAML has it, of fields as of `field_kinds`."""
    stated = _validated(given, name)
    hides = ["privacy: streams alone have it"] if stated.privacy != Declared() else []
    return _contract(stated, fields, name, hides)


def _contract(
    stated: _File, fields: Mapping[str, tuple[str, bool]], name: str, why: Sequence[str]
) -> Contract:
    problems = [f"{name}: {each}" for each in why]
    checks: list[Check] = []
    repairs: list[Repair] = []
    for number, each in enumerate(stated.checks):
        try:
            checks += _checks(each, fields)
        except (ValueError, PolarsError) as error:
            problems.append(f"{name}: checks.{number} ({each.code}): {error}")
    for number, repair in enumerate(stated.repairs):
        try:
            repairs += _repairs(repair, fields)
        except (ValueError, PolarsError) as error:
            problems.append(f"{name}: repairs.{number} ({repair.does}): {error}")
    if problems:
        raise ContractError("\n".join(problems))
    return Contract(checks, repairs)


def load_checks(record: str) -> list[Stated]:
    """Return what the contract of a record states, nothing if it has none; see `load_contract`."""
    return read_checks(schemas.contract(record) or _NONE, f"{record}/contract.yaml")


@cache
def load_privacy(record: str) -> Privacy:
    """Return what is declared of the personal data in a record; raises ContractError.

    Of a record that has no schema here it is nothing.
    """
    if record not in schemas.records():
        return Privacy()
    name = f"{record}/contract.yaml"
    stated = _read(schemas.contract(record) or _NONE, name)
    found, problems = _privacy(stated, schemas.latest(record))
    if problems:
        raise ContractError("\n".join(f"{name}: {each}" for each in problems))
    return found


def _privacy(stated: _File, schema: AvroSchema) -> tuple[Privacy, list[str]]:
    tags, problems = read_tags(schema, stated.pii)
    problems = problems or stated.privacy.problems(tags, field_kinds(schema))
    return Privacy(tags, stated.privacy), problems


def needs_approval(record: str) -> bool:
    """Tell whether a second person has to approve what somebody edits of a record."""
    return _read(schemas.contract(record) or _NONE, f"{record}/contract.yaml").approval


def read_checks(text: str, name: str) -> list[Stated]:
    """Return what a YAML text states, not yet looked at beside a schema; raises ContractError."""
    return _read(text, name).checks


def read_compatibility(text: str, name: str) -> Level:
    """Return what a YAML text states that the record's versions are; raises ContractError."""
    return _read(text, name).compatibility


def _read(text: str, name: str) -> _File:
    try:
        return _validated(yaml_text.read(text), name)
    except yaml_text.YAMLError as error:
        raise ContractError(f"{name}: {error}") from None


def _validated(given: Any, name: str) -> _File:
    try:
        return _File.model_validate(given)
    except ValidationError as error:
        raise ContractError(
            "\n".join(
                f"{name}: {'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()
            )
        ) from None


def _checks(stated: Stated, fields: Mapping[str, tuple[str, bool]]) -> Iterator[Check]:
    if stated.where is not None:
        condition = one_row(stated.where)
        read = condition.meta.root_names()
        _refuse_unknown(read, fields)
        yield Check(
            stated.code,
            tuple(dict.fromkeys(read)),
            stated.says or stated.where,
            condition,
            severity=stated.severity,
        )
        return
    _refuse_unknown(stated.fields, fields)
    for name in stated.fields:
        kind, nullable = fields[name]
        words, made = _made(stated, name, kind)
        rule = f"{words}, or null" if nullable else words
        said = stated.says or rule
        yield Check(
            stated.code, (name,), said, made, nullable=nullable, severity=stated.severity
        )


def _repairs(stated: StatedRepair, fields: Mapping[str, tuple[str, bool]]) -> Iterator[Repair]:
    given = stated.model_dump(exclude={"fields"})
    for name in stated.fields:
        repair = Repair(name, **given)
        repair.refuse_unfit(fields)
        yield repair


def _refuse_unknown(names: list[str], fields: Mapping[str, Any]) -> None:
    unknown = [name for name in names if name not in fields]
    if unknown:
        raise ValueError(f"the schema has no {', '.join(unknown)}")


def _made(stated: Stated, name: str, kind: str) -> tuple[str, Any]:
    """Return what must hold of a field in words, and as `Check.holds` has it."""
    if stated.bytes is not None:
        _need(kind, _TEXT, "bytes")
        least, most = stated.bytes
        return f"{least} to {most} bytes" if least else f"at most {most} bytes", bytes_of(
            name, least, most
        )
    if stated.range is not None:
        _need(kind, _NUMBER, "range")
        low, high = stated.range
        return f"{low} to {high}", span(name, low, high, exact=kind == "decimal")
    if stated.pattern is not None:
        _need(kind, _TEXT, "pattern")
        return f"matches {stated.pattern}", pattern(name, stated.pattern)
    if stated.one_of is not None:
        words = f"one of {', '.join(map(str, stated.one_of))}"
        return words, one_of(name, stated.one_of, exact=kind == "decimal")
    _need(kind, _TIMES, "time")
    return _time(stated, name)


def _time(stated: Stated, name: str) -> tuple[str, Holds]:
    begin, end = stated.time or (None, None)
    span = [f"from {begin}"] if begin else []
    span += [f"to {end}"] if end else []
    words = [" ".join(span)] if span else []
    ahead: int | None = None
    if stated.ahead is None:
        words.append("not far past the record's Kafka time")
    elif stated.ahead != ANY:
        ahead = micros(stated.ahead)
        words.append(f"at most {stated.ahead} past the record's Kafka time")
    said = ", and ".join(words) or "any time"
    return said, time_in(name, _us(begin), _us(end), ahead, clock=stated.ahead != ANY)


def _us(day: date | None) -> int | None:
    if day is None:
        return None
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def _need(kind: str, kinds: set[str], what: str) -> None:
    if kind not in kinds:
        raise ValueError(f"{what} is not for a field of type {kind}")
