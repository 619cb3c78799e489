import polars as pl
import pytest

from operators.records.columns import HEADERS, QUARANTINE_COLUMNS, REJECT_COLUMNS
from operators.records.fingerprints import fingerprints
from operators.records.quarantine import ATTEMPTS_HEADER, quarantined

REJECT = {
    "source_topic": "payments", "source_partition": 2, "source_offset": 17, "stage": "decode",
    "code": "malformed", "message": "field amount: the data ends too early", "schema_id": "7",
    "kafka_timestamp": None, "key": b"k", "value": b"v", "headers": None,
}  # fmt: skip


def rejects(*headers: list[tuple[str, bytes | None]] | None) -> pl.DataFrame:
    entries = [each and [{"key": k, "value": v} for k, v in each] for each in headers]
    rows = pl.DataFrame([REJECT] * len(headers), schema=REJECT_COLUMNS)
    return rows.with_columns(pl.Series("headers", entries, HEADERS))


def test_a_reject_is_kept_with_its_fingerprint_at_its_first_attempt():
    for frame in (rejects(), rejects(None, None)):
        kept = quarantined("payments", frame)
        assert dict(kept.schema) == QUARANTINE_COLUMNS
        assert kept[list(REJECT_COLUMNS)].equals(frame)
        assert kept["fingerprint"].equals(fingerprints("payments", frame))
        assert kept["attempts"].to_list() == [1] * frame.height


@pytest.mark.parametrize(
    ("values", "attempts"),
    [
        ([b"1"], 2),
        ([b"1", b"3"], 4),
        ([b"3", b"no number"], 1),
        ([None], 1),
        ([b""], 1),
        ([b"-5"], 1),
        ([b" 5"], 1),
        ([b"1_0"], 1),
        (["٣".encode()], 1),
        ([b"\xff"], 1),
        ([b"2147483646"], 2**31 - 1),
        ([b"9999999999"], 2**31 - 1),
        ([b"9" * 5_000], 1),
    ],
)
def test_who_sends_a_dead_letter_again_with_its_headers_counts_on(values, attempts):
    own = [(ATTEMPTS_HEADER, value) for value in values]
    kept = quarantined("payments", rejects(None, [("other", b"7"), *own], []))
    assert kept["attempts"].to_list() == [1, attempts, 1]
