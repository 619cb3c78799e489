"""Two revisions in turns, on real servers: each from its own files, and nothing stays behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.__main__ import parser
from benchmarks.against import order, spread
from benchmarks.runs import Code

ROOT = Path(__file__).parents[2]
COPIED = ("benchmarks", "flows", "locks", "operators", "ops", "schemas", "tests/servers")
MARK = """
import os
with open(os.environ["RAN"], "a") as ran:
    ran.write("{name} ")
"""

# A flow needs no git: only whoever compares revisions has it, as those who have a clone do.
pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def mark(folder: Path, name: str) -> None:
    """Make the alerts flow of a tree say that it runs."""
    shutil.copy(ROOT / "flows" / "alerts.py", folder / "flows" / "alerts.py")
    with (folder / "flows" / "alerts.py").open("a") as module:
        module.write(MARK.format(name=name))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose last commit and files are each another state of this project."""
    folder = tmp_path_factory.mktemp("tree")
    quiet = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=quiet)
    shutil.copy(ROOT / ".gitignore", folder)
    git(folder, "init", "-q")
    mark(folder, "before")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "before")
    mark(folder, "this")
    return folder


def start(tree: Path, work: Path, *arguments: str) -> subprocess.Popen[str]:
    (work / "tmp").mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "against", *arguments],
        cwd=tree,
        env={**os.environ, "RAN": str(work / "ran"), "TMPDIR": str(work / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_each_revision_runs_from_its_own_files_on_the_same_records(tree, tmp_path):
    what = ("--what", "alerts", "--pairs", "1", "--events", "1000", "--json")
    process = start(tree, tmp_path, "HEAD", *what)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "changes that no commit has" in err
    found = json.loads(out)
    (pair,) = found["pairs"]
    assert found["events"] >= 1000
    assert found["this"]["changed"]
    assert pair["ratio"] == pytest.approx(
        pair["this"]["events_per_cpu_second"] / pair["other"]["events_per_cpu_second"]
    )
    assert found["ratio"]["lowest"] == found["ratio"]["median"] == pair["ratio"]
    assert pair["this"]["redis_us_per_event"] > 0
    # Once each before it counts.
    assert (tmp_path / "ran").read_text().split() == ["this", "before"] * 2
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_behind(tree, tmp_path):
    process = start(tree, tmp_path, "HEAD", "--what", "alerts", "--events", "100")
    ran, deadline = tmp_path / "ran", time.monotonic() + 300
    while not (ran.exists() and ran.read_text()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list((tmp_path / "tmp").iterdir())


def test_an_unknown_revision_is_told_in_one_line(tree, tmp_path):
    process = start(tree, tmp_path, "nothing")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert err == "millstream: nothing is no revision of this repository; see git log\n"
    assert not out


def test_what_an_option_must_be_is_told(capsys):
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(["against", "HEAD", "--pairs", "0"])
    assert "argument --pairs: 0 is not 1 or more" in capsys.readouterr().err


def test_who_goes_first_changes():
    ours, theirs = Code(), Code(Path("other"))
    turns = list(order(3, ours, theirs))
    assert turns == [(ours, theirs), (theirs, ours), (ours, theirs)]


def test_the_spread_is_told_around_the_median():
    assert spread([1.1, 0.9, 1.0, 1.3]) == {
        "median": pytest.approx(1.05),
        "lowest": 0.9,
        "highest": 1.3,
    }
