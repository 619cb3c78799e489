"""What counts and lists rejects starts with little: each import that is gone took a while."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.stream_names import STREAM_NAMES
from flows.streams import STREAMS
from ops import cli
from tests.ops.dlq.rejects import made

ROOT = Path(__file__).parents[3]
NEVER = {
    "bytewax",
    "confluent_kafka",
    "cryptography",
    "jsonschema_rs",
    "pydantic",
    "redis",
    "yaml",
}
OF_MANY = {*NEVER, "numpy", "pyarrow"}


def test_streams_are_called_what_they_declare() -> None:
    assert [each.name for each in STREAMS] == [*STREAM_NAMES]
    assert not [each for each in STREAMS if "quarantine" in each.tables]


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("summary", OF_MANY),
        ("summary --code malformed", OF_MANY),
        ("list", OF_MANY),
        ("list --json", OF_MANY),
        ("show payments/0/1", NEVER),
    ],
)
def test_what_looks_at_rejects_imports_neither_declarations_nor_what_these_are_made_of(
    command: str, heavy: set[str], tmp_path: Path
) -> None:
    words = ["dlq", *command.split(), "--root", made(tmp_path)]
    code = f"""
import sys
from ops import cli
try:
    cli.main({words!r})
except SystemExit as ended:
    print(ended.code, *sys.modules, file=sys.stderr)
"""
    environ = {n: v for n, v in os.environ.items() if not n.startswith("MILLSTREAM_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    status, *modules = done.stderr.splitlines()[-1].split()
    assert (status, "malformed" in done.stdout) == ("0", True)
    assert heavy & {each.partition(".")[0] for each in modules} == set()
    assert [each for each in modules if each.startswith("flows.streams")] == []


def test_packaged_schemas_are_found_without_what_reads_settings() -> None:
    code = """
import sys, schemas
from ops.dlq.lookups import lookup
assert lookup()(schemas.local_id("payment", 1)) == schemas.load("payment", 1)
assert not {"pydantic", "flows.streams"} & set(sys.modules)
"""
    environ = {n: v for n, v in os.environ.items() if not n.startswith("MILLSTREAM_")}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, check=True)


def test_files_of_a_topic_that_are_wrong_hide_no_rejects_and_a_folder_that_is_none_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, folder = made(tmp_path / "tables"), tmp_path / "enforced"
    (folder / "orders").mkdir(parents=True)
    (folder / "orders" / "contract.yaml").write_text("topik: orders\n")
    (tmp_path / "tables" / "quarantine" / "payments").rename(
        tmp_path / "tables" / "quarantine" / "orders"
    )
    for place, command, status, said in (
        (folder, "summary", 0, "malformed"),
        (folder, "list", 0, "malformed"),
        (folder, "show payments/0/1", 2, "topik"),
        (tmp_path / "nowhere", "summary", 2, "nowhere is no folder"),
    ):
        monkeypatch.setenv("MILLSTREAM_ENFORCE_FOLDER", str(place))
        with pytest.raises(SystemExit) as ended:
            cli.main(["dlq", *command.split(), "--root", root])
        told = capsys.readouterr()
        assert (ended.value.code, said in told.out + told.err) == (status, True), told
