"""Slices: which partitions are whose, and which flows run in them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import payments
from flows.environment import SettingsError
from flows.loading import load
from flows.slices import Slice, SliceError
from flows.streams import CHARGEBACKS, CLICKS, PAYMENTS

DRAFTS = Path(payments.__file__).parent / "streams" / "payments" / "drafts"
NEEDED = {
    "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "localhost:1",
    "MILLSTREAM_REDIS_URL": "redis://localhost:1",
    "MILLSTREAM_DELTA_ROOT": "/tables",
    "MILLSTREAM_SLICE": "1/2",
}


@pytest.fixture(autouse=True)
def environ(monkeypatch):
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


@given(st.sets(st.integers(0, 300), min_size=1), st.integers(1, 40))
def test_each_partition_is_of_one_slice(partitions, count):
    found = []
    for number in range(count):
        try:
            found += Slice(number, count).of({"t": sorted(partitions)})["t"]
        except SliceError:
            assert not any(p % count == number for p in partitions)
    assert sorted(found) == sorted(partitions)


def test_a_slice_without_a_partition_is_told_how_many_there_may_be():
    with pytest.raises(SliceError, match=r"SLICE=2/3 has no partition of topic u, which has 2"):
        Slice.parse("2/3").of({"t": [0, 1, 2], "u": [0, 1]})


@pytest.mark.parametrize("text", ["", "1", "3/3", "0/0", "-1/2", "1/2/3", "a/b", "1.0/2"])
def test_what_is_no_slice_is_refused(text):
    with pytest.raises(ValueError, match="is no slice"):
        Slice.parse(text)


def test_what_follows_for_all_is_told_of_by_the_first():
    topics = {"t": [1, 3]}
    assert Slice().shared(topics, "control") is None
    assert Slice(0, 2).shared(topics, "control") == topics
    assert Slice(1, 2).shared(topics, "control") == {**topics, "control": ()}
    assert Slice(1, 2).shared(topics) == topics


@pytest.mark.parametrize("streams", [[PAYMENTS], [CLICKS], [PAYMENTS, CHARGEBACKS]])
def test_flows_that_put_partitions_together_refuse(streams):
    with pytest.raises(SettingsError, match="SLICE: only the alerts and the enforce flow"):
        load(*streams)


def test_it_is_refused_before_anything_is_asked(capsys):
    with pytest.raises(SystemExit) as ended:
        payments.flow()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("millstream: MILLSTREAM_SLICE: only the alerts")


def test_alerts_do_as_long_as_their_features_are_of_the_topics_key(tmp_path, monkeypatch):
    settings, _ = load(PAYMENTS, sliced=True)
    assert (settings.share, str(settings.share)) == (Slice(1, 2), "1/2")
    (tmp_path / "features").mkdir()
    shutil.copy(DRAFTS / "features" / "terminal_cards_1h.yaml", tmp_path / "features")
    monkeypatch.setenv("MILLSTREAM_RULES", str(tmp_path))
    said = r"SLICE: features that .* \(terminal_cards_1h\) need all partitions: take them out"
    with pytest.raises(SettingsError, match=said):
        load(PAYMENTS, sliced=True)
