"""The flow under test as a set of processes that the bench starts, kills and awaits."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ops.processes import _GUARD, free_port

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shape:
    """How the flow is run: processes, threads, records a batch, seconds an epoch."""

    processes: int = 1
    threads: int = 1
    batch: int = 500
    epoch: float = 0.2

    @classmethod
    def draw(cls, luck: random.Random, largest: int = 3) -> "Shape":
        """Draw one at random: mostly one process, sometimes up to `largest`."""
        processes = luck.choice([1, 1, 2, largest])
        threads = luck.choice([1, 1, 1, 2, 4]) if processes == 1 else 1
        return cls(
            processes,
            threads,
            luck.choice([20, 50, 200, 1000]),
            luck.choice([0.05, 0.1, 0.2, 0.5]),
        )

    def __str__(self) -> str:
        return f"{self.processes}x{self.threads}, {self.batch} a batch, {self.epoch} s epochs"


@dataclass
class Notes:
    """What the processes wrote to the notes file, counted."""

    path: Path
    read: int = 0
    started: int = 0
    commits: int = 0
    fenced: int = 0
    refused: int = 0
    points: int = 0
    replays: set[int] = field(default_factory=set)

    def update(self) -> None:
        """Read what is new."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self.read += len(data)
        for line in data.decode().splitlines():
            word, _, rest = line.partition(" ")
            match word:
                case "started":
                    self.started += 1
                case "commit":
                    self.commits += 1
                case "refused":
                    self.refused += 1
                case "point":
                    self.points += 1
                case "fenced":
                    self.fenced += int(rest.rpartition(" ")[2])
                    self.replays.add(self.started)


class Flow:
    """One flow with its own folder: tables, recovery store, logs."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        """`environ` holds the settings."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "work").mkdir(exist_ok=True)
        self.environ = environ
        self.state = folder / "state"
        self.notes = Notes(folder / "notes")
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log = folder / "flow.log"

    def start(self, shape: Shape, under: Sequence[str] = (), **chaos: str) -> None:
        """Start all processes, `under` another program if given; `chaos` go to CHAOS_ variables."""
        inherited = {
            k: v for k, v in os.environ.items()
            if k != "POLARS_MAX_THREADS" and not k.startswith(("MILLSTREAM_", "CHAOS_", "PYTEST_"))
        }  # fmt: skip
        environ = {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "CHAOS_NOTES": str(self.notes.path),
            "CHAOS_EPOCH": str(shape.epoch),
            "CHAOS_WORKERS": str(shape.threads),
            "MILLSTREAM_BATCH_SIZE": str(shape.batch),
            **self.environ,
        }
        extra = {f"CHAOS_{name.upper()}": value for name, value in chaos.items()}
        addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(shape.processes))
        self.notes.update()
        self._before = self.notes.started
        self.processes = []
        for number in range(shape.processes):
            command = [
                sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()),
                *under, sys.executable, "-m", "tests.chaos.worker", "-r", str(self.state),
            ]  # fmt: skip
            if shape.processes > 1:
                command += ["-i", str(number), "-a", addresses]
            with self.log.open("ab") as log:
                log.write(f"--- {shape} {chaos}\n".encode())
                log.flush()
                self.processes.append(
                    subprocess.Popen(
                        command,
                        env={**environ, **extra},
                        cwd=self.folder / "work",
                        stdout=log,
                        stderr=log,
                    )
                )

    def running(self) -> bool:
        """Tell whether all processes run; end the others where one has ended."""
        codes = [process.poll() for process in self.processes]
        return all(code is None for code in codes)

    def wait_started(self, timeout: float = 60) -> bool:
        """Wait until a process reads its first batch; tells whether all still run."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.running():
            self.notes.update()
            if self.notes.started > self._before:
                return True
            time.sleep(0.005)
        return False

    def wait(self, timeout: float) -> list[int] | None:
        """Wait for the end; returns the exit codes, None if it still runs after `timeout` s.

        Where one process fails the others get five seconds to notice, then are killed.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            codes = [process.poll() for process in self.processes]
            if all(code is not None for code in codes):
                return self._codes()
            if any(codes):
                self._give(5)
                return self._codes()
            time.sleep(0.005)
        return None

    def _give(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        self.kill()

    def _codes(self) -> list[int]:
        self.notes.update()
        return [process.wait() for process in self.processes]

    def kill(self, number: int | None = None) -> None:
        """Kill one process, or all; returns when they are gone."""
        chosen = self.processes if number is None else [self.processes[number]]
        for process in chosen:
            if process.poll() is None:
                process.kill()
        for process in chosen:
            process.wait()
        self.notes.update()

    def terminate(self, pause: float) -> None:
        """Ask all processes to end, as Kubernetes does, with a pause of seconds in between."""
        for number, process in enumerate(self.processes):
            if number:
                time.sleep(pause)
            process.send_signal(signal.SIGTERM)

    def said(self, lines: int = 15) -> str:
        """Return the end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
