"""The corpus through its targets, and most of a minute of ``make explore``."""

import importlib.util
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import targets

ROOT = Path(__file__).parents[2]
SECONDS = "45"
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
def test_what_coverage_leads_to_in_most_of_a_minute_keeps_it_too(tmp_path: Path) -> None:
    """Others each time; EXPLORE_SEED makes those of a run again, which says its own."""
    found = tmp_path / "found"
    seed = os.environ.get("EXPLORE_SEED") or str(1 + secrets.randbelow(2**31 - 1))
    print(f"EXPLORE_SEED={seed}")
    command = ["-m", "tests.fuzz.explore", "--seconds", SECONDS, "--seed", seed]
    done = subprocess.run(
        [sys.executable, *command, "--found", str(found)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    failed = {path.name: path.read_bytes() for path in found.glob("failed-*")}
    assert done.returncode == 0, (
        f"EXPLORE_SEED={seed}: for the corpus, once it is mended: {failed}\n{done.stderr[-4000:]}"
    )
    assert f"Seed: {seed}" in done.stderr
    assert "new_units_added" in done.stderr
