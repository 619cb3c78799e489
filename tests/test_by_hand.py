"""The commands of README's By hand, and of the pages that go on with its stack, in one go."""

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl

from flows.settings import PREFIX
from tests.pages import ROOT, blocks

# Runs a flow until its log says the second argument, and stops it as Ctrl-C does.
UNTIL = """
until_said() {
    MILLSTREAM_REPORT_EVERY=1s bash -c "exec $1" 2> flow.log & local flow=$!
    until grep -E "$2" flow.log; do kill -0 $flow; sleep 0.2; done
    # Until then it does not listen to signals; SIGTERM is the 15th.
    until (( 0x$(awk '/SigCgt/ {print $2}' /proc/$flow/status) >> 14 & 1 )); do sleep 0.2; done
    kill -INT $flow
    wait $flow
}
"""


def test_the_commands_by_hand_run_as_they_stand(tmp_path: Path) -> None:
    """The flow itself is stopped by Ctrl-C, as the text says, and then started again."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    start, look, quick, join = blocks("README.md", "By hand", "sh")
    (clicks,) = blocks("README.md", "Declare a stream", "sh")
    (keep,) = blocks("docs/operations.md", "Look after tables", "sh")
    (sliced,) = blocks("docs/operations.md", "Slices", "sh")
    (refused,) = blocks("docs/dead-letters.md", "Dead letters", "sh")
    (test,) = blocks("docs/rules.md", "Test it on history", "sh")
    (held,) = blocks("docs/streams.md", "Schemas", "sh")
    (asked,) = blocks("docs/bi.md", "BI", "sh")
    flow = start.splitlines()[-1]
    assert flow.startswith(".venv/bin/python -m bytewax.run flows.payments")
    began = f"until_said '{flow}' 'nothing new.*; [1-9].* since the start; 0 to read'"
    again = f"until_said '{flow}' '; 0 records since the start; 0 to read'"
    script = "\n".join(
        [
            "set -euo pipefail",
            UNTIL,
            "trap '.venv/bin/millstream local down' EXIT",
            start.replace(flow, f"{began}\n{again}"),
            "source .local/env",
            look,
            asked,
            quick,
            join,
            keep,
            sliced,
            refused,
            test.replace("flows/streams", f"{ROOT}/flows/streams"),
            held,
            clicks,
        ]
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, "BYTEWAX_"))}
    run = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        timeout=1_200,  # what hangs; as long as it takes where others are at work too
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "amount_limit" in run.stdout
    assert run.stdout.count("every record is where the simulation's truth has it") == 1
    assert "10.4" in run.stdout
    # By the join and, behind it, by the clicks, whose verify looks at every stream's tables.
    assert run.stdout.count("gold/payment_outcomes equals silver's") == 2
    (shown,) = blocks("docs/rules.md", "Test it on history", "text")
    shown = shown.replace("…\n", "")
    lines = [line.rstrip() for line in run.stdout.splitlines()]
    assert [each for each in shown.splitlines() if each.rstrip() not in lines] == []
    assert run.stdout.count("malformed  Not a record of its schema: field") == 3
    assert "refused: contract amount_range" in run.stdout
    assert "✗ byte " in run.stdout
    assert pl.read_parquet(tmp_path / "refused.parquet")["decoded"].null_count() == 0
    assert (tmp_path / "backtest.html").read_text().count("<svg ") == 3
    assert re.search(r"2018-04-01 +EUR +", run.stdout)
    # All but that of the data's quality: the minute in which all came has not ended.
    assert (tmp_path / "report.html").read_text().count("<svg ") == 5
    assert len(list((tmp_path / "views").iterdir())) == 13
