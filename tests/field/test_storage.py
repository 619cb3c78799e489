"""Storage that cannot be written to: told in one line, at the start."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.field.topic import Field, payments
from tests.servers import s3


def refusal(field: Field, root: str) -> str:
    """Run the flow, which must refuse in one line, and return that."""
    flow = field.flow(DELTA_ROOT=root, START_TIMEOUT="20s")
    assert flow.wait() == 1, flow.said()
    assert "Traceback" not in flow.said()
    *_, line = (each for each in flow.said().splitlines() if each.startswith("millstream: "))
    return line


def test_a_root_in_which_no_files_can_be_made_is_told_at_the_start(local: Field) -> None:
    local.create()
    file = local.folder / "a file"
    file.touch()
    for root, why in [
        (str(file), "File exists"),
        (f"{file}/tables", "Not a directory"),
        # Not even root may make folders here.
        ("/proc/tables", "No such file or directory"),
    ]:
        said = refusal(local, root)
        assert f"cannot write tables under MILLSTREAM_DELTA_ROOT {root}: {why}. Make" in said


def test_a_full_disk_is_told_at_the_start(tmp_path: Path) -> None:
    program = (
        "import sys; from operators.connectors.delta.table import check_storage\n"
        "try: check_storage(sys.argv[1])\n"
        "except Exception as error: sys.exit(str(error))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        # The kernel's limit on files stands for the disk's.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large. Make it a folder with space" in done.stderr


def test_a_bucket_that_is_not_there_is_told_at_the_start(local: Field) -> None:
    # The store is of the group dev: it lacks only where others were installed.
    if why := s3.missing():
        pytest.skip(why)
    local.create()
    local.send(*payments(0, 9))
    with s3.s3(local.folder) as port:
        local.settings |= s3.storage_env(port)
        said = refusal(local, "s3://nobody-made-it/tables")
    assert "s3://nobody-made-it/tables/" in said
    assert "Is the bucket there" in said
    assert "\x1b" not in said
