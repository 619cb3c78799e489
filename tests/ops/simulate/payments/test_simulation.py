import io
import struct
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache

import fastavro
import numpy as np
import polars as pl
import pytest

import schemas
from ops.cli import main
from ops.simulate import Params, Simulation, Troubles, simulate
from ops.simulate.encode import encode
from ops.simulate.payments.simulation import BREACHES
from ops.simulate.troubles import DECODE_CODES, KINDS

SMALL = Params(customers=500, terminals=2_000, payments=20_000, seed=7)
ROUGH = Troubles(**{entry.name: 0.02 for entry in fields(Troubles)})


@cache
def handbook() -> Simulation:
    return simulate(Params(days=183, troubles=Troubles.none()))


@cache
def rough() -> Simulation:
    return simulate(replace(SMALL, troubles=ROUGH))


def schema_of(value: bytes, header: bytes | None) -> tuple[int, bytes]:
    """Return the schema version that a record names, and its Avro part."""
    for version in (1, 2):
        guid = b"\1" + schemas.local_guid("payment", version).bytes
        if header is not None:
            if header == guid:
                return version, value
        elif value[:17] == guid:
            return version, value[17:]
        elif value[:5] == struct.pack(">bI", 0, schemas.local_id("payment", version)):
            return version, value[5:]
    raise AssertionError("a schema that nobody knows")


PARSED = {
    version: fastavro.parse_schema(schemas.load("payment", version)) for version in (1, 2)
}


def decode(value: bytes, header: bytes | None) -> dict:
    version, body = schema_of(value, header)
    stream = io.BytesIO(body)
    payment = fastavro.schemaless_reader(stream, PARSED[version])
    assert stream.read() == b""
    return payment


def test_equal_parameters_give_equal_bytes_and_another_seed_others():
    one, two = simulate(SMALL), simulate(SMALL)
    for name in ("events", "records", "truth"):
        assert getattr(one, name).equals(getattr(two, name)), name
    other = simulate(replace(SMALL, seed=8))
    assert not set(one.events["payment_id"]) & set(other.events["payment_id"])


def test_troubles_do_not_change_what_happened():
    assert rough().events.equals(simulate(SMALL).events)


def test_the_number_of_payments_is_exact_and_a_prefix_of_more():
    long = simulate(replace(SMALL, payments=None, days=30)).events
    assert simulate(SMALL).events.height == 20_000
    assert long["event_time"].is_sorted()
    # 500 customers make about 970 payments a day.
    assert 26_000 < long.height < 32_000


def test_a_pace_spaces_payments_evenly_from_the_start_on():
    start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    made = simulate(replace(SMALL, payments=1_000, pace=250.0, start=start)).events
    times = made["event_time"]
    assert times[0] == start
    assert times.diff().drop_nulls().unique().to_list() == [timedelta(milliseconds=4)]
    with pytest.raises(ValueError, match="pace is 0, not above 0"):
        replace(SMALL, pace=0)


def test_the_handbooks_facts_hold():
    payments = handbook().events
    counts = dict(payments.group_by("scenario").len().iter_rows())
    # The handbook's own run: 1,754,155 payments; 978, 9,099 and 4,604 frauds.
    assert payments.height == pytest.approx(1_754_155, rel=0.04)
    assert counts[1] == pytest.approx(978, rel=0.25)
    assert counts[2] == pytest.approx(9_099, rel=0.05)
    assert counts[3] == pytest.approx(4_604, rel=0.05)
    assert payments["is_fraud"].mean() == pytest.approx(0.008369, rel=0.06)
    assert (payments["is_fraud"] == (payments["scenario"] > 0)).all()
    assert payments.filter(pl.col("amount_minor") > 22_000)["is_fraud"].all()
    assert payments["amount_minor"].min() == 1
    assert payments["payment_id"].n_unique() == payments.height
    hour = payments["event_time"].dt.hour()
    assert hour.mean() == pytest.approx(11.5, abs=0.1)
    # Of N(43200, 20000) cut to a day, 0.70 is within 20,000 s, from about 6:27 to 17:33.
    assert hour.is_between(7, 16).mean() == pytest.approx(0.65, abs=0.02)


def test_stolen_cards_are_used_in_bursts_and_abroad():
    frauds = handbook().events.filter(pl.col("scenario") == 3)
    gaps = frauds.sort("card_id", "event_time").select(
        pl.col("event_time").diff().over("card_id").dt.total_seconds()
    )
    assert 0.15 < (gaps["event_time"] < 600).sum() / frauds.height < 0.35
    abroad = ["US", "BR", "SG", "ZA"]
    assert 0.2 < frauds["country"].is_in(abroad).mean() < 0.4
    others = handbook().events.filter(pl.col("scenario") != 3)
    assert not others["country"].is_in(abroad).any()


def test_channels_decide_position_and_device():
    payments = handbook().events
    remote = pl.col("channel").is_in(["ECOM", "MOTO"])
    assert (payments.select(remote)["channel"] == payments["latitude"].is_null()).all()
    assert payments["latitude"].is_null().equals(payments["longitude"].is_null())
    assert ((payments["channel"] == "ECOM") == payments["device_id"].is_not_null()).all()
    assert ((payments["channel"] == "ATM") == (payments["merchant_category"] == "6011")).all()


def test_without_troubles_every_payment_is_one_record_in_order():
    still = simulate(replace(SMALL, troubles=Troubles.none()))
    assert still.truth["payment_id"].equals(still.events["payment_id"])
    assert still.truth["kind"].unique().to_list() == ["ok"]
    assert still.truth["place"].unique().to_list() == ["silver"]
    assert still.records["value"].null_count() == 0


def test_each_trouble_comes_at_its_share():
    truth = rough().truth
    counts = dict(truth.group_by("kind").len().iter_rows())
    assert set(counts) == set(KINDS)
    for kind in KINDS[1:]:
        assert counts[kind] == pytest.approx(400, abs=90), kind
    assert truth.height == 20_000 + counts["duplicate"]


def test_every_record_is_in_the_truth_once():
    records, truth = rough().records, rough().truth
    assert records["partition"].equals(truth["partition"])
    assert not truth.select("partition", "sequence").is_duplicated().any()
    last = truth.group_by("partition").agg(pl.col("sequence").max() + 1, pl.len())
    assert (last["sequence"] == last["len"]).all()
    # Every intact payment is in silver once; duplicates repeat some of them.
    silver = truth.filter(pl.col("place") == "silver")["payment_id"]
    assert not silver.is_duplicated().any()
    assert set(truth.filter(pl.col("place") == "duplicates")["payment_id"]) <= set(silver)
    assert (
        truth.filter(pl.col("kind") == "ok")["code"].null_count()
        == (truth["kind"] == "ok").sum()
    )
    assert ((truth["place"] == "quarantine") == truth["code"].is_not_null()).all()


def test_records_decode_to_the_truth_and_damaged_ones_do_not():
    simulation = rough()
    payments = {row["payment_id"]: row for row in simulation.events.to_dicts()}
    seen = set()
    rows = zip(
        simulation.records.iter_rows(named=True), simulation.truth.to_dicts(), strict=True
    )
    for record, truth in rows:
        seen.add((truth["kind"], truth["code"]))
        match truth["code"]:
            case "null_value":
                assert record["value"] is None
            case "empty":
                assert record["value"] == b""
            case "bad_magic":
                assert record["header"] is None
                assert record["value"][0] not in (0, 1)
            case "truncated_frame":
                assert record["header"] is None
                assert record["value"][0] == 0
                assert 0 < len(record["value"]) < 5
            case "unknown_schema":
                with pytest.raises(AssertionError, match="nobody knows"):
                    schema_of(record["value"], record["header"])
            case "bad_utf8":
                with pytest.raises(UnicodeDecodeError):
                    decode(record["value"], record["header"])
            case "malformed":
                with pytest.raises((EOFError, IndexError, ValueError, OverflowError)):
                    decode(record["value"], record["header"])
            case _:
                payment = decode(record["value"], record["header"])
                assert payment["payment_id"] == truth["payment_id"]
                assert payment["event_time"] == truth["event_time"]
                assert payment["card_id"].encode() == record["key"]
                if truth["stage"] is None:
                    happened = payments[payment["payment_id"]]
                    assert payment == {name: happened[name] for name in payment}
                    assert truth["scenario"] == happened["scenario"]
    assert seen == (
        {("ok", None), ("late", None), ("out_of_order", None), ("duplicate", None)}
        | set(DECODE_CODES.items())
        | {("contract", breach.code) for breach in BREACHES}
    )


def test_duplicates_are_the_same_bytes_again_later_in_the_same_partition():
    both = pl.concat(
        [rough().records.drop("partition"), rough().truth], how="horizontal"
    ).filter(pl.col("place") != "quarantine")
    pairs = both.filter(pl.col("kind") == "duplicate").join(
        both.filter(pl.col("kind") != "duplicate"), on="payment_id"
    )
    assert pairs.height == (both["kind"] == "duplicate").sum()
    for name in ("value", "key", "header"):
        assert pairs[name].eq_missing(pairs[f"{name}_right"]).all()
    assert (pairs["partition"] == pairs["partition_right"]).all()
    assert (pairs["sequence"] > pairs["sequence_right"]).all()


def test_disorder_stays_within_30_s_and_only_late_records_are_late():
    truth = rough().truth.filter(pl.col("place") == "silver", pl.col("kind") != "duplicate")
    behind = truth.with_columns(
        (pl.col("event_time").cum_max().over("partition") - pl.col("event_time"))
        .dt.total_seconds(fractional=True)
        .alias("behind")
    )
    # Late records may still come first after a quiet time; nothing else is ever this far back.
    assert behind.filter(pl.col("kind") != "late")["behind"].max() < 30
    assert (behind.filter(pl.col("kind") == "late")["behind"] > 30).mean() > 0.5
    assert (behind.filter(pl.col("kind") == "out_of_order")["behind"] > 0).any()


def test_framings_and_versions_are_mixed():
    records = simulate(replace(SMALL, troubles=Troubles.none())).records
    named = [
        schema_of(value, header) for value, header in records.select("value", "header").rows()
    ]
    assert np.mean([version == 2 for version, _ in named]) == pytest.approx(0.1, abs=0.01)
    assert records["header"].is_not_null().mean() == pytest.approx(0.05, abs=0.01)
    assert records["value"].bin.starts_with(b"\1").mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("version", [1, 2])
def test_the_fast_encoder_writes_what_fastavro_writes(version):
    payments = rough().events.head(2_000)
    names = [entry["name"] for entry in schemas.load("payment", version)["fields"]]
    for row, fast in zip(
        payments.to_dicts(), encode("payment", version, payments).to_pylist(), strict=True
    ):
        slow = io.BytesIO()
        fastavro.schemaless_writer(slow, PARSED[version], {name: row[name] for name in names})
        assert fast == slow.getvalue()


def test_bad_parameters_are_told_all_at_once():
    with pytest.raises(
        ValueError, match=r"late is 2, not a share.*customers is 0.*radius is -1"
    ):
        Params(customers=0, radius=-1, troubles=Troubles(late=2))
    with pytest.raises(ValueError, match="no customer has a terminal"):
        simulate(Params(customers=2, terminals=1, radius=0.001))


def test_kafka_settings_that_cannot_be_used_are_named_before_anything_is_made(
    monkeypatch, capsys
):
    monkeypatch.setenv("MILLSTREAM_KAFKA_SASL_PASWORD", "hunter2")
    monkeypatch.setenv("MILLSTREAM_KAFKA_ACKS", "1")
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--bootstrap", "nowhere:1"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "MILLSTREAM_KAFKA_SASL_PASWORD: librdkafka has no such setting" in said
    assert "MILLSTREAM_KAFKA_ACKS: can only be all" in said
    assert "hunter2" not in said
