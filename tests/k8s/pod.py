"""A pod of the manifests, its containers processes on this machine."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from flows import settings
from ops.local import Stack
from tests.k8s.built import (
    K8S,
    ROOT,
    containers,
    enforced,
    entrypoint,
    environment,
    instruction,
    mounted,
    pods,
)
from tests.servers.ports import lasting_port

_SECURED: Final = ("MILLSTREAM_KAFKA_SASL", "MILLSTREAM_KAFKA_SECURITY_PROTOCOL")


class Pod:
    """A flow's pod of the production overlay, each container a process.

    With exactly the environment of the manifests, of the image and of the secret's files, but for
    what one machine has otherwise: the addresses of brokers, Redis and registry; the folders of
    tables, recovery store and secret; the ports of links and metrics, which others may have here;
    and that the broker knows neither TLS nor passwords. A folder has the files of enforced topics.
    """

    def __init__(
        self, stack: Stack, folder: Path, flow: str = "payments", manifests: Path = K8S
    ) -> None:
        self._folder, self._applied = folder, str(manifests / "overlays" / "production")
        self._template = pods(self._applied)[f"millstream-{flow}"]
        self._containers = containers(self._template)
        self._grace = self._template["spec"]["terminationGracePeriodSeconds"]
        self._redis = {"redis-url": stack.redis_url}
        self._here = {
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap,
            "MILLSTREAM_SCHEMA_REGISTRY": stack.registry_url,
            "MILLSTREAM_DELTA_ROOT": str(folder / "tables"),
            "BYTEWAX_RECOVERY_DIRECTORY": str(folder / f"recovery-{flow}"),
            "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(folder),
        }
        if files := enforced(self._applied, self._template, folder / "enforced"):
            self._here["MILLSTREAM_ENFORCE_FOLDER"] = files
        # As in the image: an empty working directory, our packages on the path.
        (folder / "empty").mkdir(exist_ok=True)

    def start(self, count: int) -> list[subprocess.Popen[bytes]]:
        """Start as many processes, each with its container's environment and arguments."""
        assert len(self._containers) == count
        places = [f"127.0.0.1:{lasting_port()}" for _ in range(count)]
        return [self._process(each, ";".join(places)) for each in self._containers]

    def environment(self, container: dict[str, Any]) -> dict[str, str]:
        """Return a container's environment here, but for its ports."""
        told = environment(self._applied, container)
        told = mounted(self._template, container, told, self._folder / "secret", self._redis)
        assert told.keys() >= self._here.keys()
        plain = {name: v for name, v in told.items() if not name.startswith(_SECURED)}
        return plain | self._here

    @property
    def settings(self) -> settings.Settings:
        """The flow's settings here."""
        return settings.load(self.environment(self._containers[0]))

    def _process(self, container: dict[str, Any], places: str) -> subprocess.Popen[bytes]:
        env = self.environment(container)
        if "BYTEWAX_ADDRESSES" in env:
            env["BYTEWAX_ADDRESSES"] = places
        self.port = lasting_port()
        env["BYTEWAX_DATAFLOW_API_PORT"] = str(self.port)
        log = (self._folder / f"{container['args'][0]}-{container['name']}.log").open("a")
        with log:
            return subprocess.Popen(
                [sys.executable, *entrypoint()[1:], *container["args"]],
                cwd=self._folder / "empty",
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
                stdout=log,
                stderr=log,
            )

    def stop(self, running: list[subprocess.Popen[bytes]]) -> None:
        """End processes as the kubelet does; each has to have ended well within its grace."""
        for each in running:
            each.terminate()
        end = time.monotonic() + self._grace
        statuses = []
        for each in running:
            try:
                statuses.append(each.wait(max(0.0, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                each.kill()
                statuses.append(each.wait())
        assert statuses == [0] * len(running), self.said()

    def healthy(self) -> bool:
        """Ask the process that was started last what its probes and the image's check ask."""
        (container, *_) = self._containers
        commands = [
            container[f"{name}Probe"]["exec"]["command"] for name in ("liveness", "readiness")
        ]
        commands.append(json.loads(instruction("HEALTHCHECK").partition("CMD ")[2]))
        port = {"BYTEWAX_DATAFLOW_API_PORT": str(self.port)}
        fine = True
        for program, *arguments in commands:
            assert program == "millstream"
            command = [sys.executable, "-m", "ops.cli", *arguments]
            done = subprocess.run(command, cwd=ROOT, env=os.environ | port, capture_output=True)
            fine &= done.returncode == 0
        return fine

    def said(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def rows(self, table: str) -> pl.DataFrame:
        try:
            read = DeltaTable(str(self._folder / "tables" / table))
            return pl.read_delta(read)
        except (DeltaError, OSError, pl.exceptions.PolarsError):  # not there yet, or half made
            return pl.DataFrame()
