"""The demo, as a newcomer runs it."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "card-transactions-2018-q2.parquet"


def _demo(
    folder: Path, *arguments: str, cwd: Path = ROOT, **settings: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ops.cli", "demo", "--folder", str(folder), *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_the_demo_balances(tmp_path: Path) -> None:
    run = _demo(tmp_path / "demo", "--payments", "20000", "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["ok"]
    assert report["counts"]["events"] > 20_000


def test_the_demo_balances_with_settings_of_ones_own_in_a_folder_of_any_name(
    tmp_path: Path,
) -> None:
    project = tmp_path / "My Projects" / "ü 50% #1" / "q?x=y&z"
    project.mkdir(parents=True)
    run = _demo(
        Path("demo"), "--payments", "3000", "--json", cwd=project,
        MILLSTREAM_ALLOWED_LATENESS="10m", MILLSTREAM_KAFKA_SECURITY_PROTOCOL="SASL_SSL",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["ok"]


def test_settings_that_are_wrong_are_named(tmp_path: Path) -> None:
    run = _demo(tmp_path / "demo", "--payments", "10", MILLSTREAM_ALLOWED_LATENESS="10")
    assert run.returncode == 2
    assert "MILLSTREAM_ALLOWED_LATENESS" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_folder_that_is_not_a_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    run = _demo(tmp_path)
    assert run.returncode == 2
    assert "not an earlier demo's" in run.stderr
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_file_that_is_no_payments_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.parquet").write_text("no")
    run = _demo(tmp_path / "demo", "--file", str(tmp_path / "no.parquet"))
    assert run.returncode == 2
    assert "no.parquet" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.skipif(not DATA.exists(), reason=f"the public data set is not at {DATA}")
def test_the_public_data_set_runs_through_whole(tmp_path: Path) -> None:
    run = _demo(tmp_path / "demo", "--file", str(DATA), "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["ok"]
    assert report["counts"]["unique"] == report["counts"]["events"] == 872_795
    # In KiB, the largest process so far: verifying this once took 19 GiB.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 8 << 20
