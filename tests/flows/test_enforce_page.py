"""The page on enforcing, as its reader tries it."""

import os
import subprocess
import sys
from pathlib import Path

from ops.local import Stack
from tests.flows.enforced import there
from tests.pages import ROOT, blocks
from tests.running import environment


def test_a_topic_is_enforced_in_the_pages_own_words(stack: Stack, tmp_path: Path) -> None:
    declare, send, run = blocks("docs/enforce.md", "In five minutes", "sh")
    (look,) = blocks("docs/enforce.md", "How it is, and whether it is right", "sh")
    script = "".join(["set -e\n", declare, send, run, look])
    script = script.replace(".venv/bin", str(Path(sys.executable).parent))
    topic = f"{tmp_path.name}.orders"
    script = script.replace("shop.orders", topic)
    given = stack.env() | {"MILLSTREAM_DELTA_ROOT": str(tmp_path / "tables")}
    del given["MILLSTREAM_REDIS_URL"]
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path,
        env=environment(given) | {"PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "12.5" in done.stdout
    assert "schema_format" in done.stdout
    assert "amount_range" in done.stdout
    assert "silver" in done.stdout.rpartition("amount_range")[2]
    # In whichever of its partitions the producer has put it.
    (whole,) = (each for part in there(stack, f"{topic}.validated", 4) for each in part)
    assert b'"a"' in whole.value()
