"""The corpus through its targets, and a few seconds of ``make explore``."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import targets

ROOT = Path(__file__).parents[2]
CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_the_corpus_keeps_what_its_targets_promise() -> None:
    met = {path.read_bytes()[0] % len(targets.TARGETS) for path in CORPUS}
    assert met == set(range(len(targets.TARGETS)))
    targets.warm()
    for path in CORPUS:
        try:
            targets.run(path.read_bytes())
        except BaseException as error:  # a panic of Rust's is no Exception
            raise AssertionError(f"corpus/{path.name}: {error!r}") from error


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris has wheels for Linux on x86-64 only",
)
def test_what_coverage_leads_to_in_a_few_runs_keeps_it_too(tmp_path: Path) -> None:
    found = tmp_path / "found"
    # As many as take some seconds, the same each time: a test is not the place to find new ones.
    few = ["--runs", "300", "--seed", "1", "--seconds", "120"]
    command = ["-m", "tests.fuzz.explore", *few, "--found", str(found)]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    failed = [path.read_bytes() for path in found.glob("failed-*")]
    assert done.returncode == 0, (failed, done.stderr[-4000:])
    assert "new_units_added" in done.stderr
