"""Running a flow to its end, as a process whose progress its metrics tell."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from flows.settings import PREFIX
from ops.processes import free_port

_READ: Final = ("millstream_records", "millstream_history_rows")


def run_flow(
    environ: Mapping[str, str],
    folder: Path,
    total: int,
    progress: Callable[[int], None],
    flow: str = "payments",
    work: Path | None = None,
    epoch: int | None = None,
) -> int:
    """Run a flow as a process of its own, with settings `environ`; return its exit status.

    `folder` gets its log and its recovery store, `work` is its working directory, an empty one
    unless stated. Its epochs have so many seconds, Bytewax's 10 unless stated. `progress` is told,
    five times a second, how many records it has read, and `total` at the end if it ended well.
    """
    port = free_port()
    # The tool's own choice for Polars is not the flow's.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name != "POLARS_MAX_THREADS" and not name.startswith(PREFIX)
    }
    environ = {
        **inherited,
        **environ,
        "BYTEWAX_DATAFLOW_API_ENABLED": "1",
        "BYTEWAX_DATAFLOW_API_PORT": str(port),
        "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(folder),
    }
    command = [
        sys.executable,
        "-m",
        "bytewax.run",
        f"flows.{flow}",
        "-r",
        str(folder / "state"),
        *([] if epoch is None else ["-s", str(epoch)]),
    ]
    with (folder / "flow.log").open("wb") as log:
        # From an empty folder: bytewax.run looks for the flow in the working directory first.
        if work is None:
            work = folder / "work"
            work.mkdir()
        process = subprocess.Popen(command, env=environ, cwd=work, stdout=log, stderr=log)
        try:
            read = 0
            while process.poll() is None:
                # Not at its very end, where a question can keep Bytewax from ending.
                if read < total:
                    read = _consumed(port)
                    progress(read)
                time.sleep(0.2)
            progress(total if process.returncode == 0 else 0)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return process.returncode


def _consumed(port: int) -> int:
    """Return the records that the flow's metrics say it has read, 0 while it says nothing.

    Of a topic, and of a table that has its past.
    """
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            text = page.read().decode()
    except (urllib.error.URLError, OSError):
        return 0
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(text)
        if family.name in _READ
        for sample in family.samples
        if sample.name.endswith("_total")
    )
