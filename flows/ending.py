"""Ending: a flow that cannot go on says one line, or all that is known if it is a fault of ours."""

import errno
import os
import re
import sqlite3
import sys
import threading
import traceback
from types import TracebackType
from typing import Any, Final, NoReturn

from bytewax._bytewax import cluster_main
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource
from bytewax.operators import input as input_
from bytewax.operators import output
from bytewax.recovery import (
    InconsistentPartitionsError,
    MissingPartitionsError,
    NoPartitionsError,
)
from confluent_kafka import KafkaException
from deltalake.exceptions import DeltaError
from redis.exceptions import RedisError

from flows import watchdog
from operators.connectors.delta.errors import reason
from operators.errors import KnownError

_PEER: Final = (
    "another process of this flow has ended, and so has this one: the other's last line says "
    "why. Start all of them again"
)
_STORE: Final = (
    "the recovery store cannot be {done}: {why}. Make room or mend its folder, and start again; "
    "what it had not written is read again"
)
_MIXED: Final = (
    "the recovery directory does not fit this flow: {why}. Name the one that this flow has "
    "always had, with all its files, or an empty one"
)
# What Bytewax's engine says of a fault of the world, in panics and errors without a cause.
_ENGINE: Final[tuple[tuple[str, str], ...]] = (
    (r"SqliteFailure\(.*?Some\(\"(?P<why>[^\"]*)\"\)", _STORE.replace("{done}", "used")),
    (r"(?P<why>StateKey.*? routing map)", _MIXED),
    (
        r"failed to initialize networking: (?P<why>[^\n(]+)",
        "the processes of this flow cannot be connected: {why}; check -a and -i",
    ),
    (r"thread panic|timely[_ ]communication|timely_bytewax/communication", _PEER),
)
# Of the others, such as a file that is not there, the program may be to blame.
_STORAGE: Final = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE,
    errno.ENFILE, errno.EIO, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ESTALE,
}  # fmt: skip

_raised: list[BytewaxRuntimeError] = []
_ending = threading.Lock()


def known(error: BaseException) -> str | None:
    """Return the one line that says what to do, None for an error that is a fault of ours."""
    text = _text(_root(error))
    return None if text is None else " ".join(text.split())


def _root(error: BaseException) -> BaseException:
    """Return what a step raised, without what Bytewax put around it."""
    while isinstance(error, BytewaxRuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _text(error: BaseException) -> str | None:
    if isinstance(error, KnownError):
        return str(error)
    if isinstance(error, KafkaException):
        why = error.args[0].str() if hasattr(error.args[0], "str") else error
        return f"Kafka: {why}; check that the brokers run, and MILLSTREAM_KAFKA_…"
    if isinstance(error, RedisError):
        return f"Redis: {error}; check that it runs, and MILLSTREAM_REDIS_URL"
    if isinstance(error, sqlite3.Error):
        return _STORE.format(done="used", why=error)
    if isinstance(
        error, InconsistentPartitionsError | MissingPartitionsError | NoPartitionsError
    ):
        return _MIXED.format(why=error)
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, DeltaError):
        return f"a table cannot be read or written (MILLSTREAM_DELTA_ROOT): {reason(error)}"
    return _of_engine(error)


def _of_system(error: OSError) -> str | None:
    if error.errno in _STORAGE:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; make room or give access, and start again"
    # deltalake's: without a number, what storage said in the text.
    return (
        f"storage (MILLSTREAM_DELTA_ROOT): {error}"
        if error.errno is None and error.args
        else None
    )


def _of_engine(error: BaseException) -> str | None:
    """Tell what is known of an engine's error by its text, as it has no kinds."""
    if not isinstance(error, RuntimeError) and type(error).__name__ != "PanicException":
        return None
    for pattern, line in _ENGINE:
        if found := re.search(pattern, str(error), re.DOTALL):
            return line.format(**{k: v.strip() for k, v in found.groupdict().items()})
    return None


# --- the end of a process ------------------------------------------------------------------


def install() -> None:
    """End this process with one line for errors that are known; call once, before Bytewax runs.

    All others keep their whole traceback. Either way the status is 1, and the process ends at
    once, as a crash does: what was not committed is read again.
    """
    _keep_causes()
    _silence_panics()
    sys.excepthook = _end


def _end(_: type[BaseException], error: BaseException, __: TracebackType | None) -> NoReturn:
    # Panics of several threads may come here; the first one says it, and ends them all.
    with _ending:
        if isinstance(error, KeyboardInterrupt):
            status, text = 130, "millstream: interrupted\n"
        else:
            error = _cause(error)
            line = known(error)
            whole = "".join(traceback.format_exception(error))
            status, text = 1, whole if line is None else f"millstream: {line}\n"
            if line == _PEER and watchdog.stands():
                # All stand still, and the first that ended has ended the others.
                status = watchdog.STATUS
        try:
            sys.stdout.flush()
            sys.stderr.write(text)
            sys.stderr.flush()
        finally:
            # Not by way of the interpreter's end: Bytewax's threads that still run, of a cluster
            # above all, would abort the process there.
            os._exit(status)


def _cause(error: BaseException) -> BaseException:
    """Return what ended this process, where `error` is only what came of that.

    In a cluster Bytewax loses it: what it raises is that the connections' threads panicked.
    """
    if isinstance(error, BytewaxRuntimeError) or not _raised or _of_engine(error) != _PEER:
        return error
    first = _root(_raised[0])
    return [each for each in _raised if _root(each) is first][-1]


def _keep_causes() -> None:
    made = BytewaxRuntimeError.__init__

    def keep(self: BytewaxRuntimeError, *args: object) -> None:
        made(self, *args)
        _raised.append(self)

    # Rust makes them; it knows no subclass.
    setattr(BytewaxRuntimeError, "__init__", keep)  # noqa: B010 # mypy minds it otherwise


class _NoSource(FixedPartitionedSource[Any, Any]):
    """A source without partitions: none is ever built, but the class has to say how."""

    def list_parts(self) -> list[str]:
        return []

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> NoReturn:
        raise AssertionError(f"{for_part} was never listed")


def _silence_panics() -> None:
    """Have Rust's panics told to `sys.excepthook` instead of printed with their own stack.

    Several workers have that from Bytewax, a single one has not. What Bytewax sets up for them
    stays when a flow of nothing, which takes 5 ms, has ended.
    """
    nothing = Dataflow("nothing")
    output("out", input_("in", nothing, _NoSource()), StdOutSink())
    cluster_main(nothing, [], 0)
