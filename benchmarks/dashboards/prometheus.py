"""A Prometheus of its own that scrapes processes of this machine."""

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from benchmarks.runs import ROOT, BenchmarkError
from ops.processes import ask, running

RULES: Final = ROOT / "k8s" / "watching" / "rules.yaml"


@contextlib.contextmanager
def scraping(folder: Path, jobs: Mapping[str, int], every_s: int) -> Iterator[str]:
    """Scrape each job's port for the length of a block; give Prometheus' address.

    It has our alert rules too. Its log, configuration and data are in `folder`. Raises
    BenchmarkError where there is no Prometheus, ServerError if it does not start.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise BenchmarkError("no prometheus on the PATH: Debian's package prometheus has it")
    config = folder / "prometheus.yaml"
    every = f"{every_s}s"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": every, "evaluation_interval": every},
                "rule_files": [str(RULES)],
                "scrape_configs": [
                    {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                    for job, port in jobs.items()
                ],
            }
        )
    )

    def command(port: int) -> list[str]:
        return [
            program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        ]  # fmt: skip

    def ready(port: int) -> bool:
        return ask(port, b"GET /-/ready HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200")

    with running("prometheus", command, ready, folder / "prometheus.log") as server:
        yield f"http://127.0.0.1:{server.port}"
