"""One server for all processes of a run: who starts it, and when it ends."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.processes import ServerError
from tests.servers.shared import shared

ROOT = Path(__file__).parents[2]
# Says the address, and lets go when its input ends. Starts and ends are lines of a file.
USER = """
import sys
from contextlib import contextmanager
from pathlib import Path
from tests.servers.shared import shared

folder = Path(sys.argv[1])

@contextmanager
def counted():
    with (folder / "log").open("a") as log:
        print("started", file=log, flush=True)
        yield "here"
        print("ended", file=log, flush=True)

with shared(folder, "server", counted) as address:
    print(address, flush=True)
    sys.stdin.read()
"""


def test_all_have_that_of_the_first_until_the_last_is_done_or_gone(tmp_path: Path) -> None:
    def log() -> list[str]:
        return (tmp_path / "log").read_text().split()

    def user() -> subprocess.Popen[bytes]:
        started = subprocess.Popen(
            [sys.executable, "-c", USER, str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        assert started.stdout is not None
        assert started.stdout.readline() == b"here\n"
        return started

    first, second, third = (user() for _ in range(3))
    for each in (first, second):
        assert each.stdin is not None
        each.stdin.close()
    assert second.wait() == 0
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(0.5)
    assert log() == ["started"]
    third.kill()
    assert [third.wait(), first.wait()] == [-signal.SIGKILL, 0]
    assert log() == ["started", "ended"]
    again = user()
    assert again.communicate() == (b"", None)
    assert log() == ["started", "ended"] * 2
    for each in (first, second, third):
        for pipe in (each.stdin, each.stdout):
            assert pipe is not None
            pipe.close()


def test_one_that_does_not_start_is_not_tried_by_each(tmp_path: Path) -> None:
    @contextmanager
    def fails() -> Iterator[str]:
        raise ServerError("no")
        yield

    for said in ("no", "by another process of this run"):
        with (
            pytest.raises(ServerError, match=said),
            shared(tmp_path, "server", fails),
        ):
            pass
