"""Flows as their users run them, each a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from flows.settings import PREFIX

_ROOT = Path(__file__).parents[1]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these settings, and no others, for a flow."""
    other = (PREFIX, "BYTEWAX_", "POLARS_", "_RJEM_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(other)}
    return {**kept, "PYTHONPATH": str(_ROOT), **settings}


def wait_until(done: Callable[[], object], seconds: float = 120) -> None:
    """Look five times a second whether something is so; fails if it never is."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def listens(pid: int) -> bool:
    """Tell whether a process listens to SIGTERM, as a flow does once it has found its servers."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> signal.SIGTERM - 1 & 1)


def at_rest(seconds: float) -> float:
    """Return what a promise of `seconds` comes to where others are at work on the machine too.

    As much, where each process has a core; up to twice as much where they have to share them.
    """
    share = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * min(max(share, 1.0), 2.0)


class Flow:
    """A flow with epochs of 1 s; its log and its recovery store are in `folder`.

    Another one with the same name and folder goes on where it was.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, str],
        folder: Path,
        *arguments: str,
        at: str = "",
        altered: str = "",
        redefined: str = "",
        stuck: str = "",
        recovery: bool = True,
    ) -> None:
        """`arguments` are Bytewax's; with `at` the process ends itself there, see stopped.py.

        `altered` is a constant and its value, see altered.py, `redefined` a declaration, see
        redefined.py, `stuck` where it hangs when told, see stuck.py.
        """
        self.folder, self._log = folder, folder / f"{name}.log"
        module = ["tests.stopped", at] if at else ["bytewax.run"]
        module = ["tests.altered", altered] if altered else module
        module = ["tests.stuck", stuck] if stuck else module
        module = ["tests.redefined", redefined] if redefined else module
        work = folder / "work"
        work.mkdir(parents=True, exist_ok=True)
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module, f"flows.{name}", "-s", "1", "-b", "0",
                 *(["-r", str(folder / name)] if recovery else []), *arguments],
                env=environment(settings), cwd=work, stdout=log, stderr=log,
            )  # fmt: skip

    def said(self) -> str:
        """Return what it has printed so far."""
        return self._log.read_text(errors="replace")

    def wait(self, timeout: float = 180) -> int:
        """Return its exit status; it is killed if it does not end in so many seconds."""
        try:
            return self.process.wait(timeout)
        finally:
            self.kill()

    def tell(self, number: int, timeout: float = 30) -> int:
        """Send it a signal once it listens to signals, and return its exit status."""
        wait_until(lambda: self.process.poll() is not None or listens(self.process.pid))
        self.process.send_signal(number)
        return self.wait(timeout)

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()


def run(
    name: str,
    settings: Mapping[str, str],
    folder: Path,
    *arguments: str,
    at: str = "",
    redefined: str = "",
) -> Flow:
    """Run a flow to its end, which must be a good one."""
    flow = Flow(name, settings, folder, *arguments, at=at, redefined=redefined)
    assert flow.wait() == 0, flow.said()
    return flow
