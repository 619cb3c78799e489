"""What a backtest makes of rules that are not, or not for all, live."""

import re
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from ops import cli
from tests.ops.backtest.test_file import RULE, START, backtest


def state(folder, name: str, more: str = "", over: int = 9_000) -> None:
    folder.mkdir(exist_ok=True)
    text = RULE.replace("dear", name).replace("9000", str(over)).replace("9001", str(over + 1))
    (folder / f"{name}.yaml").write_text(f"{text}{more}\n")


def payments(file: Path) -> None:
    """Write a day of payments, every tenth of them a fraud."""
    n = 800
    pl.DataFrame(
        {
            "transaction_id": range(n),
            "event_time": [START + timedelta(minutes=i) for i in range(n)],
            "customer_id": [i % 90 for i in range(n)],
            "terminal_id": [i % 7 for i in range(n)],
            "amount": [i * 37 % 12_000 / 100 for i in range(n)],
            "is_fraud": [i % 10 == 0 for i in range(n)],
        }
    ).write_parquet(file)


def test_candidates_count_whatever_they_are_and_live_rules_for_what_they_are_live_for(
    tmp_path, capsys, monkeypatch
):
    file = tmp_path / "file.parquet"
    payments(file)
    live, some = tmp_path / "live", tmp_path / "some"
    state(live, "all")
    state(live, "part", "rollout: 50%", over=4_000)
    state(live, "quiet", "status: shadow\nowner: fraud team", over=1_000)
    state(live, "gone", "status: paused", over=2_000)
    monkeypatch.setenv("MILLSTREAM_RULES", str(live))
    alone = {}
    for name, over in {"all": 9_000, "part": 4_000, "quiet": 1_000, "gone": 2_000}.items():
        state(tmp_path / name, name, over=over)
        found = backtest(capsys, "--input", file, "--rules", tmp_path / name)
        alone[name] = found["total"]["alerts"]
        # By itself it is all that there is to count.
        assert found["total"]["rules"] == [name]
    found = backtest(capsys, "--input", file)
    assert {name: each["alerts"] for name, each in found["rules"].items()} == alone
    assert found["rules"]["quiet"]["status"] == "shadow"
    assert found["rules"]["part"]["rollout"] == "50%"
    assert found["total"]["rules"] == ["all", "part"]
    assert found["total"]["alerts"] == alone["part"]
    assert alone["all"] < found["live"]["alerts"] < alone["part"]
    # What is found now, and would be were it live.
    buckets = found["rules"]["quiet"]["changes"]["good_blocked"]
    assert buckets["before"] == found["total"]["changes"]["good_blocked"]["before"]
    assert buckets["more"]["count"] > 0

    state(some, "new", "status: draft", over=3_000)
    state(some, "old", "status: paused", over=5_000)
    found = backtest(capsys, "--input", file, "--rules", some)
    # Where none is live all are what is tried.
    assert found["total"]["rules"] == ["new", "old"]
    assert found["total"]["alerts"] == found["rules"]["new"]["alerts"]
    with pytest.raises(SystemExit):
        cli.main(["rules", "backtest", "--input", str(file)])
    shown = capsys.readouterr().out
    for name in ("all", r"part \(live for 50%\)", r"quiet \(shadow\)", r"gone \(paused\)"):
        assert len(re.findall(rf"^{name} +\d", shown, re.MULTILINE)) == 2
