"""The list of streams."""

import json

import pytest

from flows.streams import STREAMS
from ops import cli
from tests.ops.checked_rules import GOOD, check
from tests.ops.test_rules_cli_features import FEATURE


def test_streams_are_listed_with_what_they_are_of(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["streams", "--json"])
    assert ended.value.code == 0
    found = {each["stream"]: each for each in json.loads(capsys.readouterr().out)}
    assert found.keys() == {stream.name for stream in STREAMS}
    assert found["clicks"]["rules"] == {"costly_click": 1}
    assert "gold/campaign_5m" in found["clicks"]["tables"]
    assert found["customers"]["changes"] == (
        "of customer_id by source.lsn, in Debezium's envelope; history is kept, in 64 buckets"
    )
    assert found["clicks"]["changes"] == ""
    assert {"bronze/terminals", "silver/terminals", "gold/terminals"} <= {
        *found["terminals"]["tables"]
    }
    assert "silver/terminal_duplicates" not in found["terminals"]["tables"]
    with pytest.raises(SystemExit):
        cli.main(["streams"])
    text = capsys.readouterr().out
    for stream in STREAMS:
        assert all(table.name in text for table in stream.all_tables)


def test_features_of_a_folder_are_known_to_the_list_of_streams(capsys, tmp_path, monkeypatch):
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "few.yaml").write_text(FEATURE)
    (tmp_path / "good.yaml").write_text(GOOD)
    monkeypatch.setenv("MILLSTREAM_RULES", str(tmp_path))
    with pytest.raises(SystemExit):
        cli.main(["streams", "--json"])
    (payments,) = (s for s in json.loads(capsys.readouterr().out) if s["stream"] == "payments")
    assert payments["features"]["few"].startswith("1: sum(amount_minor) by card_id")
    assert payments["features"].keys() > {"card_count_10m", "card_moved"}
    assert check(capsys)[0] == 0
