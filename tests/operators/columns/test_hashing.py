import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.hashing import hash_strings, identify_strings, key_groups

MASK = 2**64 - 1


def slow_mix(h: int) -> int:
    h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCD & MASK
    h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53 & MASK
    return h ^ (h >> 33)


def slow_hash(text: str) -> int:
    data = text.encode()
    h = slow_mix(len(data) + 0x9E3779B97F4A7C15 & MASK)
    for at in range(0, len(data), 8):
        word = int.from_bytes(data[at : at + 8], "little")
        h = slow_mix((h ^ word) * 0x9E3779B97F4A7C15 & MASK)
    return h


def slow_identity(text: str) -> tuple[int, int]:
    data = text.encode()
    sums, weighted = len(data) * 0xD6E8FEB86659FD93, 0
    for k, at in enumerate(range(0, len(data), 8)):
        word = data[at:] if len(data) < 8 else data[min(at, len(data) - 8) :][:8]
        key = slow_mix((k + 1) * 0x9E3779B97F4A7C15 & MASK)
        mixed = slow_mix(int.from_bytes(word, "little") ^ key)
        sums, weighted = sums + mixed, weighted + mixed * (key | 1)
    return sums & MASK, (weighted & MASK) >> 32


texts = st.lists(
    st.one_of(st.text(max_size=30), st.sampled_from(["", "é", "\0", "a\0", "日本" * 9]))
)


@given(texts)
def test_a_hash_is_what_its_docstring_says(values):
    got = hash_strings(pl.Series(values, dtype=pl.String))
    assert got.dtype == np.uint64
    assert got.tolist() == [slow_hash(value) for value in values]


same_length = st.integers(0, 300).flatmap(
    lambda n: st.lists(st.text("ab\0~", min_size=n, max_size=n))
)


@given(st.one_of(texts, same_length))
def test_an_identity_is_what_its_docstring_says_alone_and_among_others(values):
    hashes, others = identify_strings(pl.Series(values, dtype=pl.String))
    assert (hashes.dtype, others.dtype) == (np.uint64, np.uint32)
    assert list(zip(hashes.tolist(), others.tolist(), strict=True)) == [
        slow_identity(value) for value in values
    ]


def test_identities_of_more_strings_than_a_block_and_of_slices():
    values = pl.Series([f"pay-{i:09}" for i in range(10_000)])
    part = values[3_000:9_999]
    got = zip(*(each.tolist() for each in identify_strings(part)), strict=True)
    assert list(got) == [slow_identity(value) for value in part]


@pytest.mark.parametrize(
    "form", ["pay-0000abcd-{:010}", "{:032x}", "{0:02}......{0:02}......{1:02}", "{}"]
)
def test_both_halves_of_an_identity_tell_ids_that_are_alike_apart(form):
    n = 300_000
    # Digits where words begin and end, which weak hashes add up or shift out.
    ids = pl.Series([form.format(i % 1_000, i // 1_000) if "1:" in form else form.format(i)
                     for i in range(n)])  # fmt: skip
    hashes, others = identify_strings(ids)
    assert len(np.unique(hashes)) == n
    expected = n * n / 2 / 2**32
    assert abs(n - len(np.unique(others)) - expected) < 6 * expected**0.5 + 1
    low = np.unique(hashes.astype(np.uint32))
    assert abs(n - len(low) - expected) < 6 * expected**0.5 + 1


@given(texts, st.data())
def test_slices_and_chunks_hash_as_their_values(values, data):
    series = pl.Series(values, dtype=pl.String)
    start = data.draw(st.integers(0, len(values)))
    part = series.slice(start, data.draw(st.integers(0, len(values))))
    chunked = pl.concat([part, series], rechunk=False)
    expected = [slow_hash(value) for value in [*part.to_list(), *values]]
    assert hash_strings(part).tolist() == expected[: len(part)]
    assert hash_strings(chunked).tolist() == expected


def test_a_filtered_and_gathered_series_hashes_as_its_values():
    frame = pl.DataFrame({"k": [f"card-{i:06d}" for i in range(1_000)], "n": range(1_000)})
    odd = frame.filter(pl.col("n") % 2 == 1)["k"]
    assert hash_strings(odd).tolist() == [slow_hash(k) for k in odd]
    some = frame["k"][np.array([7, 3, 3, 999])]
    assert hash_strings(some).tolist() == [slow_hash(k) for k in some]


@pytest.mark.parametrize(
    ("text", "value", "group"),
    [
        ("", 0x9CA066F1A4AB2EEA, 1),
        ("a", 0xAB0258EE026D6629, 14),
        ("card-000001", 0x970C6D9F612A9BD6, 15),
        ("terminal-042", 0x045933D7B0FE7914, 7),
        ("日本語カード", 0xE85A4502656F96CD, 2),
        ("x" * 128, 0xA7954490CFEC5F6F, 0),
    ],
)
def test_hashes_never_change_because_recovered_state_is_found_by_them(text, value, group):
    hashed = hash_strings(pl.Series([text]))
    assert (hex(hashed[0]), key_groups(hashed, 16)[0]) == (hex(value), group)


@given(st.lists(st.integers(0, MASK), max_size=20), st.integers(1, 256))
def test_a_group_comes_from_the_upper_half_of_the_hash(hashes, groups):
    got = key_groups(np.array(hashes, np.uint64), groups)
    assert got.dtype == np.uint8
    assert got.tolist() == [(h >> 32) % groups for h in hashes]


@pytest.mark.parametrize("groups", [2, 3, 16, 256])
def test_groups_get_equal_shares(groups):
    ids = pl.Series([f"terminal-{i:05d}" for i in range(50_000)])
    sizes = np.bincount(key_groups(hash_strings(ids), groups), minlength=groups)
    share = 50_000 / groups
    assert (abs(sizes - share) < 5 * share**0.5).all()


def test_similar_ids_share_no_hash():
    ids = pl.select(pl.format("card-{}", pl.int_range(300_000))).to_series()
    assert len(np.unique(hash_strings(ids))) == 300_000
