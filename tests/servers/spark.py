"""Apache Spark with Delta Lake for tests: SQL on tables by another engine, in a process of its own.

The jars come from Maven Central once and stay in a cache, as Kafka's do.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.servers.kafka import brought, missing_own

_HERE: Final = Path(__file__).parent
# Spark reaches into the JDK; its own launcher opens these.
_OPENED: Final = [
    f"--add-opens=java.base/{each}=ALL-UNNAMED"
    for each in (
        "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio",
        "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch",
        "sun.nio.cs", "sun.security.action", "sun.util.calendar",
    )
]  # fmt: skip
_JAVA: Final = (
    "-Xmx700m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
    "-XX:ReservedCodeCacheSize=200m",
    # What the JVM itself warns of would else be among the answers.
    "-XX:+DisplayVMOutputToStderr", "-Xlog:disable", "-Xlog:all=warning:stderr",
)  # fmt: skip


def missing() -> str | None:
    """Return why there can be no Spark here, None if there can: it needs what Kafka does."""
    return missing_own()


class SparkError(Exception):
    """What Spark says of a statement that it refuses."""


class Spark:
    """A session; one statement at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement of one line; return its rows, raises SparkError."""
        assert self._process.stdin
        self._process.stdin.write(statement + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if answer.startswith("!"):
            raise SparkError(answer)
        found: list[dict[str, Any]] = json.loads(answer)
        return found

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SparkError(f"Spark ended with {self._process.wait()}")
        return line


@contextlib.contextmanager
def spark(folder: Path) -> Iterator[Spark]:
    """Run Spark for the length of a block; what it logs is in `folder`."""
    jars = brought(_HERE / "spark.xml", "spark", "spark.version")
    command = [
        shutil.which("java") or "java", *_JAVA, *_OPENED, "-cp", f"{jars}/*",
        str(_HERE / "Sql.java"), str(folder / "warehouse"),
    ]  # fmt: skip
    environ = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"}
    with (folder / "spark.log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            cwd=folder, env=environ,
        )  # fmt: skip
        try:
            session = Spark(process)
            session._answer()
            yield session
        finally:
            process.kill()
            process.communicate()
