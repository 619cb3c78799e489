"""Told: what Bytewax was told, by its command line and its environment, and if that can be."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from flows.settings import SettingsError
from operators.errors import KnownError

ENABLED: Final = "BYTEWAX_DATAFLOW_API_ENABLED"
"""The variable that is there where metrics are served, once `check_endpoint` has looked."""

_PORT: Final = "BYTEWAX_DATAFLOW_API_PORT"
_CACHE: Final = "BYTEWAX_DATAFLOW_API_CACHE_PATH"
_OFF: Final = {"", "0", "false", "no", "off"}
_EPOCH: Final = 10.0


@dataclass(frozen=True, slots=True)
class Told:
    """How Bytewax runs the flow: its recovery directory, this process among all, its workers.

    `addresses` are the processes' as host:port, none for a single process; `epoch` is in s.
    """

    recovery: Path | None
    process: int
    addresses: tuple[str, ...]
    workers: int
    epoch: float = _EPOCH

    def check(self) -> None:
        """Refuse what Bytewax would end with a traceback of, or do nothing at all with.

        Raises SettingsError naming every problem, and KnownError where a port is taken.
        """
        count, problems = len(self.addresses), []
        if self.workers < 1:
            problems.append(
                f"-w (BYTEWAX_WORKERS_PER_PROCESS) is {self.workers}: nothing would be read; "
                "say 1 or more"
            )
        for address in self.addresses:
            host, _, port = address.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                problems.append(f"-a (BYTEWAX_ADDRESSES): {address!r} is no host:port")
        if len(set(self.addresses)) < count:
            problems.append("-a (BYTEWAX_ADDRESSES) names a process twice")
        if not 0 <= self.process < max(count, 1):
            problems.append(
                f"-i (BYTEWAX_PROCESS_ID) is {self.process}, but -a (BYTEWAX_ADDRESSES) names "
                f"{count} processes, 0 to {count - 1}"
            )
        if self.recovery is not None:
            file = next(
                (p for p in (self.recovery, *self.recovery.parents) if p.exists()), None
            )
            if file is not None and not file.is_dir():
                problems.append(f"-r (BYTEWAX_RECOVERY_DIRECTORY): {file} is no folder")
        if problems:
            raise SettingsError("\n".join(problems))
        if self.addresses:
            self._check_own_address()

    def _check_own_address(self) -> None:
        address = self.addresses[self.process]
        host, _, port = address.rpartition(":")
        try:
            _try_port(host.strip("[]"), int(port))
        except OSError as error:
            raise KnownError(
                f"process {self.process} cannot listen on {address}: {error.strerror}. Does "
                "another process run with the same -i, or is the address of another machine?"
            ) from error


@cache
def told() -> Told:
    """Return what Bytewax was told, as it reads it itself."""
    environ = os.environ
    parser = argparse.ArgumentParser(add_help=False)
    for short, long, kind in (
        ("-r", "--recovery-directory", Path),
        ("-w", "--workers-per-process", int),
        ("-i", "--process-id", int),
        ("-a", "--addresses", str),
        ("-s", "--snapshot-interval", float),
    ):
        default = environ.get(f"BYTEWAX_{long[2:].upper().replace('-', '_')}")
        parser.add_argument(short, long, type=kind, default=default)
    given, _ = parser.parse_known_args(sys.argv[1:])
    process = given.process_id
    if process is None and {"BYTEWAX_POD_NAME", "BYTEWAX_STATEFULSET_NAME"} <= set(environ):
        own = environ["BYTEWAX_POD_NAME"]
        process = int(own.replace(environ["BYTEWAX_STATEFULSET_NAME"] + "-", ""))
    addresses: Sequence[str] = given.addresses.split(";") if given.addresses else ()
    if process is not None and given.addresses is None and "BYTEWAX_HOSTFILE_PATH" in environ:
        lines = Path(environ["BYTEWAX_HOSTFILE_PATH"]).read_text("utf-8").splitlines()
        addresses = [line.strip() for line in lines if line.strip()]
    workers = 1 if given.workers_per_process is None else given.workers_per_process
    epoch = _EPOCH if given.snapshot_interval is None else given.snapshot_interval
    return Told(given.recovery_directory, process or 0, tuple(addresses), workers, epoch)


def check_endpoint(port: int) -> None:
    """See that Bytewax can serve metrics if it is to, and have "0" or "false" mean that it isn't.

    At `port`, unless another one is told. Bytewax takes any value of the variable for a yes.
    Raises SettingsError for a port that is no number, and KnownError where it is taken or the
    folder that it writes to cannot be.
    """
    if os.environ.get(ENABLED, "").strip().lower() in _OFF:
        os.environ.pop(ENABLED, None)
        return
    # Where there is none Bytewax has the same one for all flows.
    text = os.environ.setdefault(_PORT, str(port))
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise SettingsError(f"{_PORT}: {text!r} is no port")
    try:
        _try_port("0.0.0.0", int(text))  # noqa: S104 # where Bytewax will listen
    except OSError as error:
        raise KnownError(
            f"no metrics on port {text}: {error.strerror}. Another flow or process serves its own "
            f"there? Set {_PORT} to another port, {_free_port(int(text))} is free, or "
            f"{ENABLED}=0"
        ) from error
    folder = Path(os.environ.get(_CACHE, "."))
    if not os.access(folder, os.W_OK):
        raise KnownError(
            f"Bytewax cannot write dataflow.json to {folder.absolute()}: set {_CACHE} to a folder "
            f"that can be written, or {ENABLED}=0"
        )


def _free_port(taken: int) -> int:
    for port in range(taken + 1, min(taken + 100, 65536)):
        try:
            _try_port("0.0.0.0", port)  # noqa: S104
        except OSError:
            continue
        return port
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _try_port(host: str, port: int) -> None:
    """Listen for a moment as Bytewax will; raises OSError."""
    family, kind, protocol, _, where = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
        probe.listen(1)
