from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

from flows.streams import LABELS, PAYMENTS
from operators.connectors.delta.acts import AUDIT, REPLAYS
from ops.dlq.became import read_and_gone
from ops.dlq.headers import ORIGIN_HEADER, REPLAY_HEADER
from ops.dlq.judge import JUDGED
from ops.dlq.quarantine import PLACE, QuarantineError
from ops.dlq.replays import Replays


def chosen(*offsets: int) -> pl.DataFrame:
    rows = [("payments", 0, offset, "1:0123456789abcdef", None) for offset in offsets]
    kinds = {name: JUDGED[name] for name in PLACE} | dict.fromkeys(
        ("fingerprint", "edit"), pl.String()
    )
    return pl.DataFrame(rows, schema=kinds, orient="row")


def claim(replays: Replays, *offsets: int) -> str:
    return replays.claim("payments", chosen(*offsets), {("payments", 0): 7}, {}, None, 3)


def test_what_is_claimed_is_unfinished_until_it_is_reported_done(tmp_path: Path) -> None:
    replays = Replays(str(tmp_path))
    assert replays.unfinished() == []
    first, second = claim(replays, 1, 2), claim(replays, 3)
    assert replays.unfinished() == [first, second]
    replays.done(first, "payments", {})
    assert replays.unfinished() == [second]
    assert replays.claimed().select("replay", "source_offset", "sent_behind").sort(
        "source_offset"
    ).rows() == [(first, 1, 7), (first, 2, 7), (second, 3, 7)]


def test_the_version_that_was_looked_at_is_kept_also_in_tables_of_a_release_without_it(
    tmp_path: Path,
) -> None:
    replays = Replays(str(tmp_path))
    first = claim(replays, 1)
    for table in (REPLAYS, AUDIT):
        uri = str(tmp_path / table.name)
        before = pl.read_delta(uri).drop("quarantine_version")
        write_deltalake(uri, before, mode="overwrite", schema_mode="overwrite")
    assert replays.claimed()["quarantine_version"].to_list() == [None]
    replays.done(first, "payments", {})
    claim(replays, 2)
    claimed = replays.claimed().sort("source_offset")
    assert claimed["quarantine_version"].to_list() == [None, 3]
    audit = pl.read_delta(str(tmp_path / AUDIT.name)).sort("at")
    assert audit.select("action", "records", "quarantine_version").rows() == [
        ("replay", 1, None), ("replayed", 0, None), ("replay", 1, 3)
    ]  # fmt: skip


def test_of_two_that_claim_at_once_one_does(tmp_path: Path, monkeypatch) -> None:
    replays, other = Replays(str(tmp_path)), Replays(str(tmp_path))
    claim(replays, 0)
    with pytest.raises(QuarantineError, match="has claimed some of these: run it again"):
        claim(replays, 1, 0)
    note = replays._acts.note

    def meanwhile(*told: Any, **of: Any) -> None:
        # Behind the look at what is claimed, before the claim.
        claim(other, 1, 2)
        note(*told, **of)

    monkeypatch.setattr(replays._acts, "note", meanwhile)
    with pytest.raises(QuarantineError, match="began at the same time: run it again"):
        claim(replays, 1)
    assert sorted(replays.claimed()["source_offset"]) == [0, 1, 2]


def test_what_the_topic_has_deleted_of_a_replay_bronze_knows(tmp_path: Path) -> None:
    def sent(origin: str, replay: str = "one") -> list[dict[str, object]]:
        headers = {"own": b"1", ORIGIN_HEADER: origin.encode(), REPLAY_HEADER: replay.encode()}
        return [{"key": name, "value": value} for name, value in headers.items()]

    there = {
        3: sent("payments/0/1"),
        7: sent("payments/0/1"),
        8: None,
        9: [{"key": "own", "value": None}],
        # Of a record that was refused again once more: the last of each name counts.
        10: [*sent("payments/0/0", "before"), *sent("payments/0/2")],
        11: sent("payments/0/5", "another"),
        12: sent("payments/0/4"),
    }
    rows = [("payments", 0, offset, headers) for offset, headers in there.items()]
    kinds = {name: PAYMENTS.bronze.columns[name] for name in (*PLACE, "headers")}
    bronze = pl.DataFrame(rows, schema=kinds, orient="row")
    spans = {("payments", 0): (5, 12), ("payments", 1): (0, 99)}
    root = str(tmp_path)
    assert read_and_gone(root, PAYMENTS, "one", spans) == {}
    write_deltalake(f"{root}/bronze/payments", bronze)
    assert read_and_gone(root, PAYMENTS, "one", spans) == {
        ("payments", 0, 1): ("payments", 0, 7), ("payments", 0, 2): ("payments", 0, 10),
    }  # fmt: skip
    assert read_and_gone(root, LABELS, "one", spans) == {}
