"""Records that the scan or the bulk decoder leave to the strict reader."""

import numpy as np
import pytest

from operators.avro import Decoder
from tests.operators.avro.payments import decode, encode, payment, v0


def test_text_that_is_only_whole_across_rows_is_refused(decoder: Decoder) -> None:
    """Arrow holds a column's strings end to end: one's last byte may complete the next."""
    halves = [encode(payment(country=two)) for two in ("A1", "1A")]
    values = [
        v0(halves[0].replace(b"A1", b"A\xc3")),
        v0(halves[1].replace(b"1A", b"\xa9A")),
    ]
    assert [refusal.code for refusal in decode(decoder, *values).refusals] == ["bad_utf8"] * 2


def test_a_scan_that_misses_a_record_only_costs_time(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "operators.avro.bulk.well_formed", lambda _, starts, *__: np.ones(len(starts), np.bool_)
    )
    decoded = decode(decoder, v0(encode(payment())), v0(b"\x02"), v0(encode(payment())))
    assert decoded.rows.tolist() == [0, 2]
    assert [refusal.row for refusal in decoded.refusals] == [1]


def test_good_records_left_to_the_strict_reader_keep_their_place(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "operators.avro.bulk.well_formed", lambda *_: np.array([False, False, True])
    )
    values = [v0(encode(payment(payment_id="a"))), v0(b""), v0(encode(payment()))]
    decoded = decode(decoder, *values)
    assert decoded.rows.tolist() == [0, 2]
    assert decoded.frame["payment_id"].to_list() == ["a", "p1"]


def test_bulk_decodes_in_pieces_under_arrows_limit(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operators.avro.bulk._PIECE_BYTES", 100)
    values = [v0(encode(payment(payment_id=f"p{i}"))) for i in range(9)] + [v0(b"\xff")]
    decoded = decode(decoder, *values)
    assert decoded.frame["payment_id"].to_list() == [f"p{i}" for i in range(9)]
