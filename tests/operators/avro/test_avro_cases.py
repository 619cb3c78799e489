"""The Avro project's own cases, restated as data, by columns and strictly."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from operators.avro.compatibility import unreadable
from tests.operators.avro.nested import read, record

CASES = yaml.safe_load(Path(__file__).with_name("avro_cases.yaml").read_text("utf-8"))


def one(kind: Any) -> dict[str, Any]:
    return record(("before", "int"), ("f", kind), ("behind", "string"))


def framed(case: dict[str, Any]) -> bytes:
    return b"\x02" + bytes.fromhex(case["hex"]) + b"\x02z"


def plain(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def name(case: dict[str, Any]) -> str:
    return " ".join(str(each) for each in case.values())


@pytest.mark.parametrize("case", CASES["resolution"], ids=name)
def test_what_is_written_is_read_as_the_other_type(case: dict[str, Any]) -> None:
    writer, reader = one(case["written"]), one(case["read"])
    decoded = read(writer, reader, bodies=[framed(case)])
    if case.get("ours") == "refused":
        assert [each.code for each in decoded.refusals] == ["incompatible_schema"]
        assert unreadable(writer, reader)
        return
    assert decoded.refusals == []
    (row,) = decoded.frame.to_dicts()
    assert {field: plain(value) for field, value in row.items()} == {
        "before": 1, "f": case["is"], "behind": "z",
    }  # fmt: skip
    assert bool(unreadable(writer, reader)) == case.get("lacks", False)


@pytest.mark.parametrize("case", CASES["refused"], ids=name)
def test_what_is_written_cannot_be_read_as_the_other_type(case: dict[str, Any]) -> None:
    writer, reader = one(case["written"]), one(case["read"])
    assert bool(unreadable(writer, reader)) == (case.get("ours") != "read")


@pytest.mark.parametrize("case", CASES["defaults"], ids=name)
def test_what_is_not_written_is_its_default(case: dict[str, Any]) -> None:
    reader = record(("g", "string"), ("f", case["read"], {"default": case["default"]}))
    decoded = read(record(("g", "string")), reader, bodies=[b"\x02z"])
    (row,) = decoded.frame.to_dicts()
    assert plain(row["f"]) == case["is"]


@pytest.mark.parametrize("kind", ["int", "long"])
@pytest.mark.parametrize("case", CASES["wire"], ids=name)
def test_a_number_is_its_bytes(kind: str, case: dict[str, Any]) -> None:
    decoded = read(one(kind), one(kind), bodies=[framed(case)])
    assert decoded.frame.to_dicts() == [{"before": 1, "f": case["is"], "behind": "z"}]


@pytest.mark.parametrize("case", CASES["rejected"], ids=name)
def test_what_every_library_has_to_reject_is_refused_beside_what_is_good(
    case: dict[str, Any],
) -> None:
    schema = record(("f", case["type"]))
    bodies = [bytes.fromhex(case[each]) for each in ("good", "hex")]
    decoded = read(schema, schema, bodies=bodies)
    assert [(each.row, each.code) for each in decoded.refusals] == [(1, "malformed")]
    assert decoded.rows.tolist() == [0]
