"""A stream that is nobody's: every type and every check that can be declared, in two versions."""

import json
from pathlib import Path
from typing import Any

import pytest

import schemas
from flows.streams import Stream

FIELDS: list[dict[str, Any]] = [
    {"name": "weight_g", "type": "int"},
    {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "parcel", "type": "string"},
    {"name": "depot", "type": "string"},
    {"name": "note", "type": ["null", "string"], "default": None},
    {
        "name": "size",
        "type": {"type": "enum", "name": "Size", "symbols": ["S", "M", "L", "XL"]},
    },
    {"name": "volume", "type": "double"},
    {"name": "cents", "type": ["null", "long"]},
    {"name": "insured", "type": ["null", "long"]},
    {"name": "fragile", "type": "boolean"},
    {
        "name": "packed",
        "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}],
    },
]
ADDED = {"name": "lane", "type": "string", "default": "A1"}

CONTRACT = r"""
checks:
  - {code: id_length, field: parcel, bytes: [6, 12]}
  - {code: depot_form, field: depot, pattern: "[A-Z]{2}-\\d{3}|HUB[1-9]?"}
  - {code: note_length, field: note, bytes: [0, 5]}
  - {code: no_xl, field: size, in: [S, M, L]}
  - {code: weight, field: weight_g, range: [-2147483648, 30000]}
  - {code: volume, field: volume, range: [0.5, 3.5]}
  - {code: cents, field: [cents, insured], range: [0, 9_000_000_000_000_000_000]}
  - {code: over_insured, where: insured IS NULL OR insured <= cents}
  - {code: time, field: [event_time, packed], time: [2018-04-01, 2100-01-01]}
  - {code: lane, field: lane, in: [A1, B2]}
"""


def parcels(folder: Path, patched: pytest.MonkeyPatch, contract: str = CONTRACT) -> Stream:
    """Return the stream, its files in `folder` instead of the package's."""
    # A name of its own each time: what was read of a record is kept.
    record = f"parcel_{folder.name}"
    place = folder / record
    place.mkdir()
    for version, more in ((1, []), (2, [ADDED])):
        schema = {"type": "record", "name": "Parcel", "fields": [*FIELDS, *more]}
        (place / f"{version}.avsc").write_text(json.dumps(schema))
    (place / "contract.yaml").write_text(contract)
    patched.setattr(schemas, "files", lambda _: folder)
    return Stream(name="parcels", record=record, id="parcel", key="depot")
