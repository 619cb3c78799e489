"""Apache Kafka for tests: brokers in KRaft mode that can be killed and started again.

The jars come from Maven Central once and stay in a cache. Where there is no Java or Maven,
`missing()` says so, and tests skip with that reason. The brokers never outlive the thread
that started them.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from ops.processes import ServerError, ask, end, start
from tests.servers.ports import lasting_port

_HERE: Final = Path(__file__).parent
# ApiVersions v0, correlation id 1, no client id: the answer is its length and that id.
_API_VERSIONS: Final = bytes.fromhex("0000000a 0012 0000 00000001 ffff")
_JAVA: Final = (
    "-Xms96m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
    "-Xshare:auto", "-Djava.awt.headless=true",
)  # fmt: skip


def missing() -> str | None:
    """Return why there can be no Kafka server here, None if there can."""
    return None if os.environ.get("KAFKA_BOOTSTRAP_SERVERS") else missing_own()


def missing_own() -> str | None:
    """Return why there can be no Kafka server of our own here, None if there can."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if absent:
        return (
            f"no {' and no '.join(absent)} for a Kafka server; or set KAFKA_BOOTSTRAP_SERVERS"
        )
    found = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', found.stderr)
    if version is None or int(version[1]) < 17:
        return f"Kafka 4 needs Java 17, this is {version[1] if version else 'unknown'}"
    return None


def jars() -> Path:
    """Return the folder with Kafka's jars, bringing them from Maven Central the first time.

    Raises ServerError if that fails.
    """
    return brought(_HERE / "pom.xml", "kafka", "kafka.version")


def tool_jars() -> Path:
    """Return the folder with what reads dead letters of others' making, as `jars` does."""
    return brought(_HERE / "tools.xml", "tools", "tools.version")


def brought(pom: Path, name: str, version: str) -> Path:
    """Return the folder with the jars of a POM, bringing them the first time."""
    found = re.search(rf"<{version}>(.*)</{version}>", pom.read_text())
    assert found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "millstream"
    folder = cache / f"{name}-{found[1]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        made = Path(temporary) / "jars"
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies",
             f"-DoutputDirectory={made}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ServerError(
                f"mvn could not bring {name}'s jars: {(done.stdout + done.stderr)[-2000:]}"
            )
        with contextlib.suppress(OSError):  # another process was faster
            made.rename(folder)
    return folder


def consumed(servers: str, topic: str, messages: int) -> bytes:
    """Return what Kafka's own console consumer prints of a topic, headers and all."""
    done = subprocess.run(
        [shutil.which("java") or "java", *_JAVA,
         f"-Dlog4j2.configurationFile={_HERE / 'log4j2.xml'}", "-cp", f"{jars()}/*:{tool_jars()}/*",
         "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", servers,
         "--topic", topic, "--from-beginning", "--max-messages", str(messages),
         "--timeout-ms", "60000",
         *(f"--formatter-property=print.{each}=true" for each in ("key", "headers", "offset"))],
        capture_output=True, check=False, timeout=180,
    )  # fmt: skip
    if done.returncode:
        raise ServerError(f"the console consumer failed: {done.stderr.decode()[-2000:]}")
    return done.stdout


class Kafka:
    """A cluster of combined brokers and controllers, each a process of its own."""

    def __init__(self, folder: Path, brokers: int = 1) -> None:
        """Format the storage; `start` starts the brokers."""
        self.folder = folder
        self._classpath = f"{jars()}/*"
        # Kept for life: clients and peers know the brokers by them.
        self._ports = [lasting_port() for _ in range(2 * brokers)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.brokers = range(brokers)
        # A letter before it: one that begins with "-" would be taken for an option.
        cluster = "M" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:].rstrip("=")
        formats = []
        for broker in self.brokers:
            config = self._configure(broker)
            formats.append(
                subprocess.Popen(
                    [*self._java(), "kafka.tools.StorageTool", "format", "-t", cluster,
                     "-c", str(config)],
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
        for process in formats:
            said, _ = process.communicate(timeout=120)
            if process.returncode:
                raise ServerError(
                    f"Kafka's storage could not be formatted: {said.decode()[-2000:]}"
                )

    @property
    def bootstrap(self) -> str:
        """The brokers' addresses."""
        return ",".join(f"127.0.0.1:{self._ports[2 * broker]}" for broker in self.brokers)

    def _java(self) -> list[str]:
        return [
            shutil.which("java") or "java", *_JAVA,
            f"-Dlog4j2.configurationFile={_HERE / 'log4j2.xml'}", "-cp", self._classpath,
        ]  # fmt: skip

    def _configure(self, broker: int) -> Path:
        home = self.folder / f"broker-{broker}"
        home.mkdir(parents=True)
        config = home / "server.properties"
        settings = self._settings(broker, home)
        config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return config

    def _settings(self, broker: int, home: Path) -> dict[str, object]:
        several = len(self.brokers) > 1
        copies = min(3, len(self.brokers))
        port, controller = self._ports[2 * broker], self._ports[2 * broker + 1]
        voters = ",".join(f"{b + 1}@127.0.0.1:{self._ports[2 * b + 1]}" for b in self.brokers)
        return {
            "process.roles": "broker,controller",
            "node.id": broker + 1,
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.quorum.voters": voters,
            "log.dirs": home / "data",
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": 2 if several else 1,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": 2 if several else 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": 2 if several else 1,
            "group.initial.rebalance.delay.ms": 0,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "log.cleaner.dedupe.buffer.size": 8_388_608,
            "log.index.size.max.bytes": 1_048_576,
            # Followers go by the empty records that it writes twice a second, and one has none.
            "metadata.max.idle.interval.ms": 500 if several else 0,
            # A broker that is gone is given up within seconds, so that leaders move.
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            "replica.lag.time.max.ms": 3000,
            "controller.quorum.election.timeout.ms": 500,
            "controller.quorum.fetch.timeout.ms": 1000,
        }

    def start(self, broker: int) -> None:
        """Start a broker; returns when it answers."""
        home = self.folder / f"broker-{broker}"
        command = [*self._java(), "kafka.Kafka", str(home / "server.properties")]
        port = self._ports[2 * broker]
        _, process = start(
            f"broker {broker}",
            lambda _: command,
            lambda _: ask(port, _API_VERSIONS)[4:8] == b"\0\0\0\1",
            home / "log",
            port,
            timeout=90,
        )
        self._processes[broker] = process

    def start_all(self) -> None:
        """Start all brokers; returns when each knows all of them."""
        # A controller alone has no quorum, so a broker of three answers only with another.
        for broker in self.brokers:
            home = self.folder / f"broker-{broker}"
            command = [*self._java(), "kafka.Kafka", str(home / "server.properties")]
            _, process = start(
                f"broker {broker}", lambda _, c=command: c, lambda _: True, home / "log",
                self._ports[2 * broker],
            )  # fmt: skip
            self._processes[broker] = process
        self.wait_for(len(self.brokers))

    def wait_for(self, brokers: int, timeout: float = 90) -> None:
        """Wait until the cluster says that this many brokers are up; raises ServerError."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(KafkaException):
                if len(admin.list_topics(timeout=1).brokers) >= brokers:
                    return
            time.sleep(0.1)
        raise ServerError(
            f"Kafka: no {brokers} brokers within {timeout:g} s; see {self.folder}"
        )

    def kill(self, broker: int) -> None:
        """Kill a broker as a power cut would."""
        end(self._processes.pop(broker))

    def close(self) -> None:
        """Kill what runs."""
        for broker in list(self._processes):
            self.kill(broker)


@contextlib.contextmanager
def kafka(folder: Path, brokers: int = 1) -> Iterator[Kafka]:
    """Run a cluster for the length of a block."""
    cluster = Kafka(folder, brokers)
    try:
        cluster.start_all()
        yield cluster
    finally:
        cluster.close()


@contextlib.contextmanager
def bootstrap(folder: Path) -> Iterator[str]:
    """Give the address of a broker for the length of a block: the user's, or one of our own."""
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield given
        return
    with kafka(folder) as cluster:
        yield cluster.bootstrap


def create_topic(servers: str, topic: str, partitions: int, **config: str) -> None:
    """Create a topic with the cluster's default replication, and wait until it is known."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for future in admin.create_topics([NewTopic(topic, partitions, config=config)]).values():
        future.result(30)
    _wait_for_leaders(admin, topic, partitions)


def add_partitions(servers: str, topic: str, total: int) -> None:
    """Give a topic more partitions, and wait until they are known."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for future in admin.create_partitions([NewPartitions(topic, total)]).values():
        future.result(30)
    _wait_for_leaders(admin, topic, total)


def _wait_for_leaders(admin: AdminClient, topic: str, partitions: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = admin.list_topics(timeout=10).topics.get(topic)
        if (
            found is not None
            and len(found.partitions) == partitions
            and all(p.leader > 0 for p in found.partitions.values())
        ):
            return
        time.sleep(0.05)
    raise ServerError(f"topic {topic} has no {partitions} partitions with leaders within 30 s")
