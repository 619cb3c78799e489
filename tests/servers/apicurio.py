"""Apicurio Registry for tests: another registry than Confluent's that has Confluent's API.

It comes from Maven Central once and stays in a cache, as Kafka's jars do.
"""

import contextlib
import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ops.processes import ServerError, running

# The last line that runs on Java 17.
_VERSION: Final = "3.0.9"
_URL: Final = (
    "https://repo.maven.apache.org/maven2/io/apicurio/apicurio-registry-app/"
    f"{_VERSION}/apicurio-registry-app-{_VERSION}-all.tar.gz"
)
_SHA256: Final = "2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43"
_API: Final = "apis/ccompat/v7"


def _jar() -> Path:
    """Return the program, bringing it the first time; raises ServerError if that fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "millstream"
    folder = cache / f"apicurio-{_VERSION}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            packed = Path(temporary) / "packed"
            try:
                with (
                    urllib.request.urlopen(_URL, timeout=60) as answer,
                    packed.open("wb") as to,
                ):
                    shutil.copyfileobj(answer, to, 1 << 20)
            except OSError as error:
                raise ServerError(f"{_URL}: {error}") from error
            with packed.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != _SHA256:
                    raise ServerError(f"{_URL} is not the file that was looked at")
            made = Path(temporary) / "made"
            with tarfile.open(packed) as archive:
                archive.extractall(made, filter="data")
            with contextlib.suppress(OSError):  # another process was faster
                made.rename(folder)
    (jar,) = folder.glob("*-runner.jar")
    return jar


@contextlib.contextmanager
def apicurio(folder: Path) -> Iterator[str]:
    """Run a registry, all in memory, for the length of a block; gives its API's URL."""
    jar = _jar()

    def command(port: int) -> list[str]:
        return [
            shutil.which("java") or "java", "-Xmx400m", "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={port}", "-jar", str(jar),
        ]  # fmt: skip

    with running("apicurio", command, _ready, folder / "apicurio.log", timeout=120) as server:
        yield f"http://127.0.0.1:{server.port}/{_API}"


def _ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        url = f"http://127.0.0.1:{port}/{_API}/schemas/types"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    return False
