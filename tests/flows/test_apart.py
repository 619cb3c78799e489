from pathlib import Path

import pytest

from flows.apart import same_folders, same_topics
from flows.settings import SettingsError, load
from tests.flows.test_settings import NEEDED

TOPICS = (
    "topic", "chargebacks_topic", "clicks_topic", "alerts_topic", "clicks_alerts_topic",
    "decisions_topic",
    "dlq_topic", "chargebacks_dlq_topic", "clicks_dlq_topic",
)  # fmt: skip
"""The settings that name topics, inputs first."""


@pytest.mark.parametrize("name", TOPICS)
@pytest.mark.parametrize("other", TOPICS)
def test_any_two_topics_must_differ(name, other):
    changed = {f"MILLSTREAM_{each.upper()}": "same" for each in (name, other)}
    if name == other:
        assert load(NEEDED | changed)
        return
    with pytest.raises(SettingsError) as raised:
        load(NEEDED | changed)
    (problem,) = str(raised.value).splitlines()
    first, second = sorted((name, other), key=TOPICS.index)
    assert problem.startswith(
        f"MILLSTREAM_{second.upper()}: 'same' is MILLSTREAM_{first.upper()} as well;"
    )


def test_a_default_counts_and_so_does_what_is_beside_other_mistakes():
    with pytest.raises(SettingsError) as raised:
        load(NEEDED | {"MILLSTREAM_TOPIC": "payments.dlq", "MILLSTREAM_BATCH_SIZE": "many"})
    found = [line.split(":")[0] for line in str(raised.value).splitlines()]
    assert found == ["MILLSTREAM_BATCH_SIZE", "MILLSTREAM_DLQ_TOPIC"]


def test_all_that_are_one_are_named():
    named = {"A": "x", "B": "y", "C": "x", "D": "x", "E": "y"}
    assert [line.split(":")[0] for line in same_topics(named)] == ["C", "D", "E"]


@pytest.mark.parametrize("name", ["a b", "", ".", "..", "ä", "a/b", "x" * 250, "a\n"])
def test_what_kafka_has_no_topic_of_is_refused(name):
    with pytest.raises(SettingsError, match=r"MILLSTREAM_ALERTS_TOPIC: .* is no topic's name"):
        load(NEEDED | {"MILLSTREAM_ALERTS_TOPIC": name})


@pytest.mark.parametrize(
    ("tables", "recovery", "told"),
    [
        ("tables", "state", ""),
        ("tables", "tables-state", ""),
        (
            "tables",
            "./tables/",
            "the recovery directory (-r): is the folder of MILLSTREAM_DELTA",
        ),
        (
            "link",
            "tables",
            "the recovery directory (-r): is the folder of MILLSTREAM_DELTA_ROOT",
        ),
        (
            "tables",
            "tables/state",
            "MILLSTREAM_DELTA_ROOT: the recovery directory (-r) lies in",
        ),
        ("state/../state/tables", "state", "MILLSTREAM_DELTA_ROOT: lies in the recovery dir"),
        ("s3://bucket/state", "state", ""),
        ("tables", None, ""),
        ("rules", "state", "MILLSTREAM_RULES: is the folder of MILLSTREAM_DELTA_ROOT as well"),
        ("tables", "rules", "MILLSTREAM_RULES: is the folder of the recovery directory (-r)"),
    ],
)
def test_folders_are_apart_by_where_they_are_not_by_how_they_are_written(
    tmp_path, monkeypatch, tables, recovery, told
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "tables")
    others = {"MILLSTREAM_RULES": "rules", "MILLSTREAM_SCHEMA_REGISTRY": "https://r/rules"}
    found = list(same_folders(tables, recovery and Path(recovery), others))
    assert [line[: len(told)] for line in found] == ([told] if told else [])
