"""Files: the folder of topics that are enforced, read with all that is wrong there.

``<folder>/<name>/contract.yaml`` and, beside it, ``<version>.avsc`` or ``<version>.json``.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl

from flows.apart import same_topics
from flows.enforced.hiding import privacy_of
from flows.enforced.kept import with_upkeep
from flows.enforced.names import names_in
from flows.enforced.stated import (
    CONTRACT,
    ByField,
    ByHeader,
    ProblemError,
    Stated,
    read_stated,
)
from flows.enforced.topic import RESERVED, Enforced
from flows.streams import STREAMS, all_tables
from operators import json_schema
from operators.avro import Decoder, Lookup, columns_of
from operators.avro.compatibility import DEFAULT
from operators.avro.wire import SchemaError
from operators.contracts import ContractError, contract_of, field_kinds
from operators.json_schema import Column, JsonDecoder, Version
from operators.records.identities import ORIGIN
from operators.records.tables import TIME

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_FILE: Final = re.compile(r"([1-9]\d*)\.(avsc|json)")
_AGAIN: Final = "_duplicates"
_KINDS: Final[dict[pl.DataType, str]] = {
    pl.String(): "string", pl.Int64(): "long", pl.Float64(): "double", pl.Boolean(): "boolean",
    TIME: "timestamp-micros",
}  # fmt: skip


def read_folder(folder: Path) -> tuple[list[Enforced], list[str]]:
    """Return the topics that a folder declares, and a line for each thing that is wrong there."""
    found: list[Enforced] = []
    problems: list[str] = []
    for name in names_in(folder):
        try:
            found.append(_topic(folder / name))
        except ProblemError as error:
            problems += [f"{folder / name}: {line}" for line in error.args]
    if not (found or problems):
        problems.append(f"{folder} has no folder of a topic")
    named = {
        f"{folder / each.name}: {what}": topic
        for each in found
        for what, topic in (
            ("topic", each.topic),
            ("validated", each.validated),
            ("dlq", each.dlq),
        )
        if topic is not None
    }
    names = {each.name for each in found}
    problems += [
        f"{folder / each.name}: the duplicates of {each.name.removesuffix(_AGAIN)} are called so"
        for each in found
        if each.name.endswith(_AGAIN) and each.name.removesuffix(_AGAIN) in names
    ]
    return found, [*problems, *same_topics(named)]


def _topic(folder: Path) -> Enforced:
    name = folder.name
    problems = [*_name_problems(name)]
    stated, schemas, kind = Stated(), dict[int, Any](), ""
    try:
        stated = read_stated(folder / CONTRACT)
    except ProblemError as error:
        problems += error.args
    try:
        schemas, kind = _schemas(folder)
    except ProblemError as error:
        problems += error.args
    if problems:
        raise ProblemError(*problems)
    written = stated.written or ("avro" if kind == "avsc" else "json")
    if written == "avro" and kind == "json":
        problems.append("written: records of a JSON Schema are written as json")
    if written == "avro" and stated.version not in (None, "registry"):
        problems.append("version: that of Avro is told by the id before it, so state none")
    if written == "json" and stated.version is None and len(schemas) > 1:
        problems.append(
            f"version: there are {len(schemas)}, so state how it is told: registry, a field or a "
            "header"
        )
    if stated.repairs and stated.validated is not False:
        problems.append(
            "repairs: the validated topic has records as they came, so state validated: false, or "
            "edit what is refused with millstream dlq edit"
        )
    if problems:
        raise ProblemError(*problems)
    make = _avro if written == "avro" else _json
    columns, kinds, decoder = make(name, stated, schemas, kind)
    taken = sorted((RESERVED | ({ORIGIN} if stated.id else set())) & columns.keys())
    if taken:
        raise ProblemError(f"silver has columns of its own called {', '.join(taken)}")
    if stated.id is not None and stated.id not in columns:
        raise ProblemError(f"id: {stated.id} is no field of the newest schema")
    hides, problems = privacy_of(stated, schemas, kind, kinds, columns)
    try:
        contract = contract_of(
            {"checks": stated.checks, "repairs": stated.repairs}, kinds, CONTRACT
        )
    except ContractError as error:
        problems += str(error).splitlines()
    if problems:
        raise ProblemError(*problems)
    topic = stated.topic or name
    validated = None if stated.validated is False else stated.validated or f"{topic}.validated"
    found, problems = with_upkeep(
        Enforced(
            name,
            record=name,
            id="",
            key="",
            alone=False,
            topic=topic,
            validated=validated,
            dlq=stated.dlq or f"{topic}.dlq",
            written=written,
            schemas=schemas,
            of=columns,
            contract=contract,
            needs_approval=stated.approval,
            told_by=stated.id or "",
            hides=hides,
            compatibility=stated.compatibility or (DEFAULT if kind == "avsc" else "none"),
            registered=written == "avro" or stated.version == "registry",
            decoder=decoder,
        ),
        stated,
    )
    if problems:
        raise ProblemError(*problems)
    return found


def _name_problems(name: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield "the folder's name is that of tables: small letters, digits and _ alone"
    streams = {each.name for each in STREAMS}
    mine = {f"silver/{name}", f"silver/{name}_duplicates", f"quarantine/{name}"}
    mine |= {f"gold/{name}_{what}" for what in ("data_quality", "schema_drift")}
    tables = mine & {each.name for each in all_tables()}
    if name in streams or tables:
        yield "a stream has this name or its tables: call the folder otherwise, and state topic"


def _schemas(folder: Path) -> tuple[dict[int, Any], str]:
    """Return the schemas by version, and the ending of their files."""
    files = {each.name: _FILE.fullmatch(each.name) for each in sorted(folder.iterdir())}
    found: dict[int, Any] = {}
    kinds, problems = set(), []
    for name, match in files.items():
        if match is None:
            if name != CONTRACT and name[0] not in "._":
                problems.append(
                    f"{name}: is neither {CONTRACT} nor a schema such as 1.avsc or 1.json"
                )
            continue
        kinds.add(match[2])
        try:
            found[int(match[1])] = json.loads((folder / name).read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{name}: {error}")
    if len(kinds) > 1:
        problems.append("has both Avro and JSON Schemas: a topic's versions are of one kind")
    if not kinds:
        problems.append("has no schema such as 1.avsc or 1.json")
    if problems:
        raise ProblemError(*problems)
    return dict(sorted(found.items())), kinds.pop()


_Made = tuple[dict[str, pl.DataType], dict[str, tuple[str, bool]], Any]
"""Columns, the kinds of fields as contracts know them, and what makes a decoder."""


def _avro(name: str, stated: Stated, schemas: dict[int, Any], kind: str) -> _Made:
    versions = list(schemas.values())
    problems = []
    for number, schema in schemas.items():
        try:
            columns = columns_of(schema)
        except SchemaError as error:
            problems.append(f"{number}.avsc: {error}")
    if problems:
        raise ProblemError(*problems)
    return columns, field_kinds(versions[-1]), partial(_decodes_avro, versions)


def _decodes_avro(versions: list[Any], lookup: Lookup) -> Decoder:
    return Decoder(versions[-1], lookup, versions)


def _json(name: str, stated: Stated, schemas: dict[int, Any], kind: str) -> _Made:
    versions: dict[int, Version] = {}
    problems: list[str] = []
    for number, schema in schemas.items():
        try:
            versions[number] = _version(number, schema, kind)
            _ = versions[number].validator
            if not versions[number].columns:
                raise ValueError("has no properties, so silver would have no columns")
        except ValueError as error:
            problems.append(f"{number}.{kind}: {error}")
    columns: dict[str, Column] = {}
    for number, version in reversed(versions.items()):
        for field, column in version.columns.items():
            same = columns.setdefault(field, column)
            if same.dtype != column.dtype:
                problems.append(
                    f"{number}.{kind}: {field} is another column than in a later version: give it "
                    "another name there"
                )
    by_field = stated.version if isinstance(stated.version, ByField) else None
    if problems:
        raise ProblemError(*problems)
    kinds = {
        field: (_KINDS.get(each.dtype, "other"), each.nullable or any(
            field not in version.columns for version in versions.values()
        ))
        for field, each in columns.items()
    }  # fmt: skip
    if kind == "avsc":
        kinds = field_kinds(list(schemas.values())[-1])
    dtypes = {field: each.dtype for field, each in columns.items()}
    newest = list(versions.values())[-1]

    def decoder(lookup: Lookup) -> JsonDecoder:
        told: json_schema.Versions
        if stated.version == "registry":
            told = json_schema.ByRegistry(versions, schemas, lookup)
        elif by_field is not None:
            told = json_schema.ByField(versions, by_field.field, by_field.schema_field, name)
        elif isinstance(stated.version, ByHeader):
            told = json_schema.ByHeader(versions, stated.version.header, name)
        else:
            told = json_schema.Newest(newest)
        return JsonDecoder(told, dtypes)

    return dtypes, kinds, decoder


def _version(number: int, schema: Any, kind: str) -> Version:
    if kind == "json":
        return Version(number, schema, json_schema.columns_of(schema), {})
    return Version(number, *json_schema.of_avro(schema))
