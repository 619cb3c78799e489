"""What tools make of enforced topics' rejects, and what of that the audit has."""

import json
import shlex
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from flows.streams import CHARGEBACKS
from operators.connectors.delta.table import open_table
from ops import cli
from ops.dlq import streams as dlq_streams
from ops.local import Stack
from ops.topics import create_topic
from tests.field import refused
from tests.field.test_chargeback_quality import NEWEST, chargeback
from tests.flows.enforced import asked, avro, order, reading, send, settings, table
from tests.running import run

Told = Callable[..., Any]


@pytest.fixture(scope="module")
def enforced(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the flow on good and bad orders, which name their id, and readings, which do not."""
    folder = tmp_path_factory.mktemp("letters")
    given = settings(stack, folder) | {"MILLSTREAM_STOP_AT_END": "true"}
    shutil.rmtree(folder / "enforced" / "heartbeats")
    contract = folder / "enforced" / "orders" / "contract.yaml"
    contract.write_text(f"id: order_id\n{contract.read_text()}")
    orders = [order(n, amount=2_000_000 if n < 3 else 1) for n in range(6)]
    # The same id in other words.
    orders.append(order(7, amount=3_000_000).replace(b"order-7", b"\\u006frder-7"))
    orders.append(b"{")
    readings = [avro(reading(n, value=200 if n < 2 else 1)) for n in range(4)]
    every: Any = {
        name: [(None, value, None) for value in values]
        for name, values in (("orders", orders), ("readings", readings))
    }
    for name in every:
        create_topic(stack.bootstrap, f"{folder.name}.{name}", 2)
    send(stack, folder.name, every)
    run("enforce", given, folder)
    return folder


@pytest.fixture
def told(stack: Stack, enforced: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Told:
    """Give what runs a command of dlq and returns its JSON."""
    for name, value in settings_of(stack, enforced).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MILLSTREAM_REDIS_URL", raising=False)
    dlq_streams.lookup.cache_clear()
    return partial(refused.told, capsys)


def settings_of(stack: Stack, folder: Path) -> dict[str, str]:
    """Return the settings without what declares the topics anew."""
    given = stack.env()
    del given["MILLSTREAM_REDIS_URL"]
    return {
        **given,
        "MILLSTREAM_DELTA_ROOT": str(folder / "tables"),
        "MILLSTREAM_ENFORCE_FOLDER": str(folder / "enforced"),
    }


def audit(folder: Path) -> list[dict[str, Any]]:
    """Return what was done, the oldest first, with the filter as it was."""
    rows = pl.read_delta(str(folder / "tables" / "ops" / "audit")).sort("at").to_dicts()
    return [{**each, "filter": json.loads(each["filter"] or "null")} for each in rows]


def test_json_is_exported_as_what_it_decodes_to_and_the_audit_says_so(
    enforced: Path, told: Told, tmp_path: Path
) -> None:
    file = tmp_path / "orders.jsonl"
    assert told(f"export {file} --stream orders --decoded --why 'for the shop'")["rejects"] == 5
    lines = list(map(json.loads, file.read_text().splitlines()))
    ids = sorted(each["decoded"]["order_id"] for each in lines if each["decoded"])
    assert ids == ["order-0", "order-1", "order-2", "order-7"]
    both = tmp_path / "all.parquet"
    told(f"export {both} --code value_range --decoded")
    (first, _) = pl.read_parquet(both).sort("source_partition")["decoded"].to_list()
    assert json.loads(first)["value"] == 200
    done = audit(enforced)[-2:]
    assert [(each["action"], each["records"]) for each in done] == [
        ("export", 5),
        ("export", 2),
    ]
    assert done[0]["why"] == "for the shop"
    assert done[0]["filter"].items() >= {
        "stream": "orders", "decoded": True, "file": str(file)
    }.items()  # fmt: skip


def test_no_file_is_left_whose_export_could_not_be_told(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("ops.dlq.acts.Acts.note", away)
    with pytest.raises(SystemExit) as ended:
        cli.main(["dlq", "export", str(tmp_path / "x.jsonl"), "--stream", "orders"])
    assert ended.value.code == 1
    assert list(tmp_path.iterdir()) == []


def test_an_id_finds_its_record_or_it_is_said_how(told: Told, capsys: Any) -> None:
    for number in (1, 7):
        (found,) = told(f"list --stream orders --id order-{number}")
        assert found["code"] == "amount_range"
    assert told("list --stream orders --id order-9") == []
    said = refused.said(capsys, "list --stream readings --id a", 1)
    assert "which field of readings is its id is not declared" in said
    assert "--contains" in said
    assert len(told("list --stream readings --contains a")) == 1


def test_a_sandbox_has_what_the_flow_would_make_of_them(
    enforced: Path, told: Told, tmp_path: Path
) -> None:
    contract = enforced / "enforced" / "orders" / "contract.yaml"
    before = contract.read_text()
    contract.write_text(before.replace("1_000_000", "2_500_000"))
    made = told(f"replay --stream orders --sandbox {tmp_path / 'tried'}")["sandbox"]
    contract.write_text(before)
    assert made == {
        "silver/orders": 3, "silver/orders_duplicates": 0, "quarantine/orders": 0,
        "gold/orders_data_quality": 2,
    }  # fmt: skip
    tried = pl.read_delta(str(tmp_path / "tried" / "silver" / "orders"))
    assert sorted(tried["order_id"]) == ["order-0", "order-1", "order-2"]
    assert table(enforced, "silver/orders").height == 3


def test_what_a_sandbox_cannot_try_is_refused(
    enforced: Path, told: Told, capsys: Any, tmp_path: Path
) -> None:
    root = tmp_path / "tables"
    now = datetime.now(UTC)
    row = {
        "source_topic": "chargebacks", "source_partition": 0, "source_offset": 1,
        "stage": "decode", "code": "malformed", "message": "x", "kafka_timestamp": now,
        "value": chargeback(dlq_streams.schemas.local_id("chargeback", 1), NEWEST, 1),
        "written_at": now, "flow_version": "1", "attempts": 1,
    }  # fmt: skip
    rows = pl.DataFrame([row], CHARGEBACKS.quarantine.schema)
    write_deltalake(open_table(str(root), CHARGEBACKS.quarantine), rows, mode="append")
    by = f"--stream chargebacks --root {root}"
    (planned,) = told(f"replay {by}")["outcomes"]
    assert (planned["outcome"], planned["count"]) == ("silver", 1)
    said = refused.said(capsys, f"replay {by} --sandbox {tmp_path / 'tried'}", 1)
    assert "--sandbox: records of chargebacks are made something of together" in said
    assert not (tmp_path / "tried").exists()


def test_rejects_go_after_thirty_days_with_a_row_in_the_audit(
    enforced: Path,
    told: Told,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    def tables(command: str, status: int = 0) -> Any:
        with pytest.raises(SystemExit) as ended:
            cli.main(["tables", *shlex.split(command)])
        captured = capsys.readouterr()
        assert ended.value.code == status, captured
        return json.loads(captured.out) if captured.out else captured.err

    root = tmp_path / "tables"
    shutil.copytree(enforced / "tables", root)
    uri = str(root / "quarantine" / "orders")
    old = datetime.now(UTC) - timedelta(days=31)
    DeltaTable(uri).update(
        predicate="source_partition = 0", updates={"kafka_timestamp": pl_time(old)}
    )
    of = f"--root {root} --json"
    (counted,) = (
        each
        for each in tables(f"retain --dry-run {of}")
        if each["table"] == "quarantine/orders"
    )
    assert (counted["keep"], counted["rows"], counted["deleted"]) == ("30 days, 0:00:00", 3, 0)
    monkeypatch.setenv("MILLSTREAM_ROLE", "viewer")
    assert "this needs the role operator" in tables(f"retain {of}", 1)
    tables(f"retain --dry-run {of}")
    monkeypatch.setenv("MILLSTREAM_ROLE", "operator")
    done = {each["table"]: each["deleted"] for each in tables(f"retain --why 'as it is' {of}")}
    assert done == {"quarantine/orders": 3, "quarantine/readings": 0}
    assert pl.read_delta(uri).height == 2
    last = audit(tmp_path)[-1]
    assert (last["action"], last["records"], last["why"]) == ("retain", 3, "as it is")
    assert last["filter"]["table"] == "quarantine/orders"


def test_tables_are_maintained_as_the_contract_says(
    enforced: Path, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    root, folder = tmp_path / "tables", tmp_path / "enforced"
    shutil.copytree(enforced / "tables", root)
    shutil.copytree(enforced / "enforced", folder)
    contract = folder / "orders" / "contract.yaml"
    upkeep = "upkeep: {silver: {target_mb: 1, z_order: [order_id], retention: 1h}}\n"
    contract.write_text(contract.read_text() + upkeep)
    monkeypatch.setenv("MILLSTREAM_DELTA_ROOT", str(root))
    monkeypatch.setenv("MILLSTREAM_ENFORCE_FOLDER", str(folder))
    _, found = asked(capsys, "tables info")
    silver = {each["table"]: each for each in found}["silver/orders"]
    assert (silver["target_MB"], silver["z_order"]) == (1, ["order_id"])
    _, found = asked(capsys, "tables zorder")
    assert [each["table"] for each in found] == ["silver/orders"]
    _, found = asked(capsys, "tables retain --dry-run")
    assert {each["table"]: each["keep"] for each in found} == {
        "silver/orders": "1:00:00",
        "quarantine/orders": "30 days, 0:00:00",
        "quarantine/readings": "30 days, 0:00:00",
    }


def test_verify_knows_what_retention_has_cut_and_finds_what_is_missing_behind_it(
    enforced: Path, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    root = tmp_path / "tables"
    shutil.copytree(enforced / "tables", root)
    monkeypatch.setenv("MILLSTREAM_DELTA_ROOT", str(root))
    old = pl_time(datetime.now(UTC) - timedelta(days=40))
    silver, quality = (
        str(root / name) for name in ("silver/orders", "gold/orders_data_quality")
    )
    # Of partition 1 two are good, and the last of these stays.
    first = pl.read_delta(silver).filter(source_partition=1)["source_offset"].sort()
    DeltaTable(silver).update(
        predicate=f"source_partition = 1 AND source_offset < {first[-1]}",
        updates={"kafka_timestamp": old},
    )
    before = pl.read_delta(silver).height
    with pytest.raises(SystemExit) as ended:
        cli.main(["tables", "retain", "silver/orders", "--keep", "30d"])
    assert ended.value.code == 0
    assert 0 < pl.read_delta(silver).height < before
    with pytest.raises(SystemExit):
        cli.main(["tables", "retain", "gold/orders_data_quality", "--keep", "0s"])
    assert pl.read_delta(quality).height == 0
    capsys.readouterr()
    status, found = asked(capsys, "verify")
    assert status == 0, [each for each in found["checks"] if not each["ok"]]
    checked = [each["name"] for each in found["checks"]]
    cut = next(i for i, name in enumerate(checked) if "orders is in silver/orders, " in name)
    assert found["checks"][cut]["deleted"] == before - pl.read_delta(silver).height

    DeltaTable(silver).delete(f"source_partition = 1 AND source_offset = {first[-1]}")
    status, found = asked(capsys, "verify")
    broken = [each["name"].split(" ")[1] for each in found["checks"] if not each["ok"]]
    assert (status, broken) == (1, ["record"])


def pl_time(at: datetime) -> str:
    """Return a time as SQL."""
    return f"arrow_cast('{at.isoformat()}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
