"""Server processes on this machine: started on a free port, watched, and ended."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Runs between fork and exec, as a process of its own: preexec_fn is not safe in a program
# with threads. 1 is PR_SET_PDEATHSIG: the kernel kills the server when its parent is gone,
# however it went. The parent may have died before the call, hence the second look.
_GUARD = """
import ctypes, os, signal, sys
parent, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(parent):
    os._exit(1)
os.execv(command[0], command)
"""


class ServerError(RuntimeError):
    """A server could not be started or ended."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    `born` tells it from a later process with the same pid: the kernel's start time in clock
    ticks since boot, or 0 where the system does not tell.
    """

    name: str
    pid: int
    port: int
    born: int
    log: str

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _born(self.pid) == self.born


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on, chosen by the system."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(
    name: str,
    command: Callable[[int], list[str]],
    ready: Callable[[int], bool],
    log: Path,
    port: int | None = None,
    detached: bool = False,
    timeout: float = 15.0,
) -> tuple[Server, "subprocess.Popen[bytes]"]:
    """Start the server that `command(port)` describes and wait until `ready(port)`.

    Its output is appended to `log`. Unless `detached` it dies with the thread that started
    it, on Linux even when that is killed. With `port` None a free one is taken.
    Raises ServerError if it exits or is not ready within `timeout` seconds.
    """
    # Between finding a free port and the server's taking it, another process can take it.
    for _ in range(1 if port else 3):
        chosen = port or free_port()
        if port and _listening(port):
            raise ServerError(f"{name}: something already listens on port {port}")
        guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid())]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*([] if detached else guard), *command(chosen)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=detached,
            )
        deadline = time.monotonic() + timeout
        while process.poll() is None:
            if ready(chosen):
                return Server(name, process.pid, chosen, _born(process.pid), str(log)), process
            if time.monotonic() > deadline:
                end(process)
                raise ServerError(f"{name}: not ready within {timeout:g} s; see {log}")
            time.sleep(0.02)
    raise ServerError(f"{name}: exited with code {process.returncode} at start; see {log}")


@contextlib.contextmanager
def running(
    name: str,
    command: Callable[[int], list[str]],
    ready: Callable[[int], bool],
    log: Path,
    port: int | None = None,
    timeout: float = 15.0,
) -> Iterator[Server]:
    """Run a server for the length of a block; see `start`."""
    server, process = start(name, command, ready, log, port, timeout=timeout)
    try:
        yield server
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a child at once.

    Servers here hold nothing worth saving, and asked kindly the broker waits for its clients.
    """
    process.kill()
    process.wait()


def end_detached(server: Server, timeout: float = 5.0) -> None:
    """End, at once, a server that an earlier command started.

    Raises ServerError if it is still there after `timeout` seconds.
    """
    if server.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + timeout
    while server.alive():
        if time.monotonic() > deadline:
            raise ServerError(f"{server.name}: process {server.pid} did not end")
        time.sleep(0.02)


def ask(port: int, request: bytes) -> bytes:
    """Return the first bytes that 127.0.0.1:`port` answers to `request`, b"" for no answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(request)
            return connection.recv(64)
    except OSError:
        return b""


def _listening(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _born(pid: int) -> int:
    """Return a process's start time, 0 where unknown, -1 if there is no such process."""
    try:
        # The command's name, in brackets, may hold spaces; state is the first field after it
        # and the start time the twentieth.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1 if fields[0] == "Z" else int(fields[19])
    except OSError:
        if sys.platform == "linux":
            return -1
    try:
        os.kill(pid, 0)
    except OSError:
        return -1
    return 0


def to_json(servers: list[Server]) -> str:
    """Return the servers as JSON text."""
    fields = [{slot: getattr(server, slot) for slot in Server.__slots__} for server in servers]
    return json.dumps({"version": 1, "servers": fields}, indent=2) + "\n"


def from_json(text: str) -> list[Server]:
    """Return the servers that `to_json` wrote; ValueError for anything else."""
    try:
        state = json.loads(text)
        if state["version"] == 1:
            return [Server(**fields) for fields in state["servers"]]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"not a state file of the local stack: {error}") from error
    raise ValueError(f"a state file of version {state['version']}, not 1")
