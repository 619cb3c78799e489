"""What repairs would make of one reject, as ``dlq show`` tells it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

from flows.streams import CLICKS
from operators.connectors.delta.table import open_table
from ops import cli
from ops.dlq import lookups, streams
from ops.dlq.lookups import lookup_or_why
from ops.dlq.mending import Mended, mended_of
from tests.field.topic import payment
from tests.flows.clicks import click
from tests.flows.enforced import READING, avro, reading

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _no_registry_of_another_test() -> Iterator[None]:
    lookups.lookup.cache_clear()
    yield
    lookups.lookup.cache_clear()


def reject(stream: str, value: bytes, headers: dict[str, bytes] | None = None) -> Any:
    return {
        "stream": stream, "source_topic": "t", "source_partition": 0, "source_offset": 7,
        "kafka_timestamp": NOW, "key": None, "value": value,
        "headers": [{"key": n, "value": v} for n, v in (headers or {}).items()],
    }  # fmt: skip


def mended(stream: str, value: bytes, headers: dict[str, bytes] | None = None) -> Mended:
    return mended_of(reject(stream, value, headers), lookup_or_why)


def test_what_repairs_change_is_told_and_whether_it_is_good_then() -> None:
    found = mended("clicks", click(1, cost_minor=30_000_000))
    assert found.to_json() == {
        "declared": 2,
        "changes": [
            {"field": "cost_minor", "was": 30_000_000, "becomes": 3_000, "by": ["unit"]}
        ],
        "refused": None,
    }
    assert list(found.lines()) == [
        "repair unit: cost_minor 30000000 → 3000",
        "repaired so, it would be good today: millstream dlq replay",
    ]
    time = datetime(1970, 1, 21, tzinfo=UTC)
    found = mended("clicks", click(1, cost_minor=-30_000, event_time=time, user_id=""))
    assert [(each["field"], each["by"]) for each in found.changes] == [
        ("cost_minor", ["unit"]), ("event_time", ["unit"])
    ]  # fmt: skip
    assert found.changes[1]["becomes"] == "2024-10-04T00:00:00+00:00"
    assert found.refused is not None
    assert found.refused[:2] == ("contract", "id_length")


def test_what_none_helps_is_told() -> None:
    found = mended("clicks", click(1, user_id=""))
    assert found.changes == []
    (line,) = found.lines()
    assert line.startswith(
        "no repair of its contract changes it: it would be refused, contract id"
    )
    (line,) = mended("payments", payment(1, currency="eur")).lines()
    assert line.startswith(
        "its contract has no repairs: it would be refused, contract currency"
    )
    (line,) = mended("clicks", click(1)[:-1]).lines()
    assert "it would be refused, decode malformed" in line
    (line,) = mended("clicks", click(1)).lines()
    assert line == "as it is, it would be good today: millstream dlq replay"


@pytest.mark.parametrize("written", ["json", "avro"])
def test_records_of_enforced_topics_are_mended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    folder = tmp_path / "readings"
    folder.mkdir()
    (folder / "1.avsc").write_text(json.dumps(READING))
    (folder / "contract.yaml").write_text(f"""\
written: {written}
validated: false
checks:
  - {{code: sensor_form, field: sensor, pattern: "[A-Z]+"}}
  - {{code: value_range, field: value, range: [0, 1]}}
repairs:
  - {{does: trim, field: sensor}}
  - {{does: upper_case, field: sensor}}
""")
    monkeypatch.setenv("MILLSTREAM_ENFORCE_FOLDER", str(tmp_path))
    streams.lookup.cache_clear()

    def value(**fields: Any) -> bytes:
        one = reading(0, value=1.0) | fields
        return avro(one) if written == "avro" else json.dumps(one).encode()

    found = mended("readings", value(sensor=" ab "))
    change = {"field": "sensor", "was": " ab ", "becomes": "AB", "by": ["trim", "upper_case"]}
    assert (found.changes, found.refused) == ([change], None)
    found = mended("readings", value(sensor=" ab ", value=2.0))
    assert found.changes == [change]
    assert found.refused is not None
    assert found.refused[1] == "value_range"
    streams.lookup.cache_clear()


def test_show_has_it_behind_the_record(tmp_path: Path, capsys: Any) -> None:
    row = reject("clicks", click(1, cost_minor=30_000_000)) | {
        "stage": "contract", "code": "cost_range", "message": "cost_minor: 0 to 1000000",
        "attempts": 1, "written_at": NOW, "flow_version": "1",
    }  # fmt: skip
    rule = row | {"stage": "rule", "code": "rule_failed:a", "source_offset": 8}
    frame = pl.DataFrame([row, rule], CLICKS.quarantine.schema)
    write_deltalake(open_table(str(tmp_path), CLICKS.quarantine), frame, mode="append")

    def shown(command: str) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(["dlq", "show", *command.split(), "--root", str(tmp_path)])
        assert ended.value.code == 0
        return str(capsys.readouterr().out)

    assert shown("t/0/7").splitlines()[-2:] == [
        "repair unit: cost_minor 30000000 → 3000",
        "repaired so, it would be good today: millstream dlq replay",
    ]
    assert json.loads(shown("t/0/7 --json"))["repair"]["changes"][0]["becomes"] == 3_000
    # It is in silver: there is nothing to repair.
    assert json.loads(shown("t/0/8 --json"))["repair"] is None
