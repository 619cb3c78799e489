"""The page on enforcing, as its reader tries it."""

import os
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from flows.enforced.files import read_folder
from ops.local import Stack
from tests.flows.enforced import there
from tests.operators.connectors.registry_server import serving
from tests.ops.schemas.test_folder import run as schemas
from tests.pages import ROOT, blocks
from tests.running import environment


def declared(folder: Path, more: str) -> Path:
    """Declare the page's topic, with more lines in its contract; return the folder of topics."""
    declare = blocks("docs/enforce.md", "In five minutes", "sh")[0]
    folder.mkdir()
    subprocess.run(["sh", "-c", declare], cwd=folder, check=True)
    contract = folder / "enforced" / "orders" / "contract.yaml"
    contract.write_text(contract.read_text() + more)
    return folder / "enforced"


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


def test_schemas_are_locked_checked_and_published_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (typed,) = blocks("docs/enforce.md", "In CI", "sh")
    folder = declared(tmp_path / "ci", "version: registry\n")
    monkeypatch.setenv("MILLSTREAM_ENFORCE_FOLDER", str(folder))
    with serving() as registry:
        monkeypatch.setenv("MILLSTREAM_SCHEMA_REGISTRY", registry.url)
        for line in typed.splitlines():
            program, command, *words = shlex.split(line)
            assert (Path(program).name, command) == ("millstream", "schemas")
            status, said = schemas(capsys, *words)
            assert status == 0, said
    assert said[-1].endswith("under shop.orders-value")


def test_contracts_of_the_page_say_who_sees_what_and_how_tables_are_kept(
    tmp_path: Path,
) -> None:
    (hidden,) = blocks("docs/enforce.md", "Personal data", "yaml")
    (kept,) = blocks("docs/enforce.md", "Upkeep", "yaml")
    (topic,), problems = read_folder(declared(tmp_path / "hidden", hidden))
    assert problems == []
    assert topic.privacy.tags == {"order_id": "identifier", "customer": "person"}
    (topic,), problems = read_folder(declared(tmp_path / "kept", kept))
    assert problems == []
    silver, refused = (topic.upkeep[each.name] for each in (topic.silver, topic.quarantine))
    assert (silver.z_order, silver.retention) == (("order_id",), timedelta(days=400))
    assert refused.retention is None
