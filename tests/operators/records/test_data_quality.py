"""Data quality against a model that looks at one record after the other."""

from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.records.batches import END_OF_INPUT, Progress
from operators.records.data_quality import COLUMNS, DataQuality
from operators.records.stretches import Part
from operators.records.tables import TIME

MINUTE = 60_000_000
EVENT = 1_000 * MINUTE
HOW = ("on", "on", "resumed", "lost")
FATES = ("valid", "repaired", "late", "again", "decode:bad", "contract:range", "rule:failed")

records = st.lists(
    st.tuples(
        # Now and then so many offsets are no records that a clock that was ahead is forgotten.
        st.sampled_from([1, 1, 1, 2, 700, 2048]),
        st.sampled_from([None, 0, 0, 1, 1, 2, 3, 50]),
        st.sampled_from(FATES),
    ),
    min_size=1,
    max_size=30,
)


def model(partition: int, found: list[tuple[int, int | None, str]], *, ended: bool) -> list:
    """Return the rows: offsets, minutes and fates come as they are, one by one."""
    rows, first, newest, seen = [], None, 0, 0
    counts: Counter[str] = Counter()
    broken: Counter[tuple[str, str]] = Counter()
    kafka: list[int] = []
    events: list[int] = []

    def close(at: int, behind: int) -> None:
        minute = None if newest < 0 else newest * MINUTE
        place = "t", partition, at, minute, first
        fresh = max(kafka) - max(events) if kafka and events else None
        rows.append(
            (
                *place,
                None,
                None,
                counts["records"],
                behind - first - counts["records"],
                *(counts[name] for name in ("valid", "repaired", "late", "again", "refused")),
                0,
                max(events, default=None),
                fresh,
            )
        )
        for why, n in sorted(broken.items()):
            rows.append((*place, *why, *[0] * 7, n, None, None))

    for offset, minute, fate in found:
        mine = -1 if minute is None else minute
        if first is None:
            first, newest, seen = offset, mine, offset
        elif mine > newest or (mine < newest and (offset >> 10) - (seen >> 10) >= 2):
            close(offset, offset)
            first, newest = offset, mine
            counts, broken, kafka, events = Counter(), Counter(), [], []
        if mine == newest:
            seen = offset
        counts["records"] += 1
        kafka += [] if minute is None else [minute * MINUTE]
        if fate in ("valid", "repaired", "late"):
            counts["valid"] += 1
            counts[fate] += fate != "valid"
            events.append(EVENT + offset)
        elif fate == "again":
            counts["again"] += 1
        else:
            stage, code = fate.split(":")
            broken[stage, code] += 1
            if stage == "rule":
                counts["valid"] += 1
                events.append(EVENT + offset)
            else:
                counts["refused"] += 1
    if ended and first is not None:
        last = found[-1][0]
        close(last, last + 1)
    return rows


def frame(
    partition: int, found: list, **columns: tuple[list, pl.DataType | type]
) -> pl.DataFrame:
    kinds = {"source_partition": pl.Int32, "source_offset": pl.Int64}
    data = {
        "source_partition": [partition] * len(found),
        "source_offset": [f[0] for f in found],
    }
    data |= {name: values for name, (values, _) in columns.items()}
    return pl.DataFrame(data, kinds | {name: kind for name, (_, kind) in columns.items()})


def parts(partition: int, found: list[tuple[int, int | None, str]]) -> list[Part]:
    """Return the parts that a run of records comes as."""
    good = [f for f in found if f[2] in ("valid", "repaired", "late", "rule:failed")]
    bad = [f for f in found if ":" in f[2]]
    event = [EVENT + f[0] for f in good]
    kafka = [None if m is None else m * MINUTE for _, m, _ in found]
    frames = {
        "read": frame(partition, found, kafka_timestamp=(kafka, TIME)),
        "good": frame(
            partition, good, event_time=(event, TIME),
            watermark=([t + (f[2] == "late") for t, f in zip(event, good, strict=True)], TIME),
            repairs=(["{}" if f[2] == "repaired" else None for f in good], pl.String),
        ),
        "again": frame(partition, [f for f in found if f[2] == "again"]),
        "refused": frame(
            partition, bad, stage=([f[2].split(":")[0] for f in bad], pl.String),
            code=([f[2].split(":")[1] for f in bad], pl.String),
        ),
    }  # fmt: skip
    return [part for kind, rows in frames.items() for part in Part.of(kind, rows)]


def with_offsets(found: list) -> list[tuple[int, int | None, str]]:
    made, offset = [], -1
    for step, minute, fate in found:
        offset += step
        made.append((offset, minute, fate))
    return made


@settings(max_examples=80)
@given(st.lists(records, min_size=1, max_size=2), st.data(), st.booleans())
def test_rows_are_what_one_record_after_the_other_says_however_epochs_fall(
    topics: list, data: st.DataObject, ended: bool
) -> None:
    """Epochs, a crash with its state, and a crash that has lost it, at any place."""
    every = {p: with_offsets(found) for p, found in enumerate(topics)}
    expected = [row for p, found in every.items() for row in model(p, found, ended=ended)]
    written: list[tuple] = []

    def begin(partition: int) -> int:
        return max(
            (sum((row[4], *row[7:9])) for row in written if row[1] == partition), default=0
        )

    def past(begun: dict) -> list[Part]:
        return [
            part
            for p, (first, end) in begun.items()
            for part in parts(p, [f for f in every[p] if first <= f[0] < end])
        ]

    quality = DataQuality(begin, past)
    longest = max(map(len, every.values()))
    size = data.draw(st.integers(1, longest))
    for at in range(0, longest, size):
        how, read_first = data.draw(st.sampled_from(HOW)), data.draw(st.booleans())
        if how != "on":
            quality = DataQuality(begin, past, quality.dump() if how == "resumed" else None)
        for p, found in every.items():
            own = found[at : at + size]
            pieces = parts(p, own[: len(own) // 2]) + parts(p, own[len(own) // 2 :])
            # What was read comes in its order; what became of it may come before or behind that.
            for part in sorted(pieces, key=lambda part: (part.kind == "read") == read_first):
                quality.take(part)
            over = ended and at + size >= longest
            last = [f[0] for f in found[: at + size]][-1]
            quality.observe(Progress("t", p, len(every), last, END_OF_INPUT if over else 0))
        written += quality.settle().rows()
    plain = [
        tuple(
            int(v.timestamp()) * 1_000_000 + v.microsecond if hasattr(v, "timestamp") else v
            for v in row
        )
        for row in written
    ]
    assert sorted(plain, key=repr) == sorted(expected, key=repr)


def test_records_from_before_the_table_are_not_counted() -> None:
    found = [(offset, offset // 10, "valid") for offset in range(30)]
    quality = DataQuality(lambda _: 7, lambda _: ())
    for each in found:
        for part in parts(0, [each]):
            quality.take(part)
        quality.observe(Progress("t", 0, 1, each[0]))
        rows = quality.settle()
        if rows.height:
            assert rows.select("first_offset", "records", "valid").rows() == [(7, 3, 3)]
            break
    assert rows["minute"].item().timestamp() == 0
    assert rows["freshness_us"].item() == -(EVENT + 9)
    assert rows.schema == pl.Schema(COLUMNS)


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="state version 9"):
        DataQuality(lambda _: 0, lambda _: (), {"version": 9, "open": []})
