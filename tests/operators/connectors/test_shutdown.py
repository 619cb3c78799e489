import signal
import subprocess
import sys
from pathlib import Path

import pytest

TOLD = """
import os, signal, time
from operators.connectors.shutdown import SHUTDOWN
SHUTDOWN.install()
assert not SHUTDOWN.requested
os.kill(os.getpid(), signal.{0})
assert SHUTDOWN.requested
"""


AGAIN = TOLD + "time.sleep({1}); os.kill(os.getpid(), signal.{0})"

ENDED = """
import os, signal
from operators.connectors.shutdown import SHUTDOWN
SHUTDOWN.install()
class Late:
    def __del__(self):
        os.kill(os.getpid(), signal.{0})
        print("ended", flush=True)
late = Late()
"""


def told(code: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_first_signal_asks_and_the_second_ends(name):
    once = told(TOLD.format(name))
    assert (once.returncode, once.stderr) == (0, "")
    assert once.stdout.startswith("Stopping")
    assert told(AGAIN.format(name, 0.6)).returncode == -getattr(signal, name)
    # Where the group is told as well, that is no second wish.
    assert told(AGAIN.format(name, 0)).returncode == 0


def test_it_is_asked_also_where_nobody_reads_what_it_says():
    with Path("/dev/full").open("w") as full:
        done = told(TOLD.format("SIGTERM"), full.fileno())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_a_process_that_has_ended_well_makes_no_failure_of_it(name):
    done = told(ENDED.format(name))
    assert (done.returncode, done.stdout) == (0, "ended\n")
