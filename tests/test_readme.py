"""The README is true to the letter: its commands run, what it names is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from flows import outcomes
from flows.settings import PREFIX, Settings
from flows.tables import tables
from operators import metrics

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def test_the_first_two_commands_are_make_targets_and_ci_runs_the_second() -> None:
    assert SHELL[0].split("\n")[:2] == ["make demo", "make test"]
    plan = subprocess.run(
        ["make", "-n", "demo", "DATA=a.parquet"], cwd=ROOT, capture_output=True, text=True
    )
    assert '.venv/bin/millstream demo --file "a.parquet"' in plan.stdout
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_commands_by_hand_run_as_they_stand(tmp_path: Path) -> None:
    """The flow itself is stopped by Ctrl-C, as the text says, and then started again."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    start, look, quick, join = SHELL[1:5]
    flow = start.splitlines()[-1]
    assert flow.startswith(".venv/bin/python -m bytewax.run flows.payments")
    stopped = f"timeout --preserve-status --signal INT 12 {flow}"
    script = "\n".join(
        [
            "set -euo pipefail",
            "trap '.venv/bin/millstream local down' EXIT",
            start.replace(flow, f"{stopped}\n{stopped}"),
            "source .local/env",
            look,
            quick,
            join,
        ]
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, "BYTEWAX_"))}
    run = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "amount_limit" in run.stdout
    assert "10.4" in run.stdout
    assert run.stdout.count("gold/payment_outcomes equals silver's") == 1


def test_every_setting_table_and_metric_is_in_it() -> None:
    for name in Settings.model_fields:
        variable = PREFIX + name.upper()
        assert name == "kafka" or variable in README or f"_{name.upper()}" in README, variable
    join = outcomes.outcome_join("payments", "chargebacks", 0, 0)
    for table in [*tables(0), *outcomes.tables(join)]:
        assert f"`{table.name}`" in README
    for name in metrics.__dict__:
        if name.isupper():
            assert getattr(metrics, name)._name.removeprefix("millstream") in README, name
