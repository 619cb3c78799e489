"""Apache Kafka as companies run it: TLS, passwords, and nothing allowed that is not granted."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from ops.processes import ServerError
from tests.servers.kafka import Kafka
from tests.servers.ports import lasting_port

USER: Final = "flow"
PASSWORD: Final = "the-password-of-the-flow"
_STORE: Final = "keystore"

Right = tuple[str, str, str]
"""What is allowed: an operation, a kind of resource, and its name."""


class SecuredKafka(Kafka):
    """A broker with a second listener, SASL_SSL, for the user `USER`, who may do nothing yet.

    The plain listener is the administrator's.
    """

    def __init__(self, folder: Path) -> None:
        self._secured = lasting_port()
        self._keys = folder / "broker.p12"
        self.ca = folder / "ca.pem"
        folder.mkdir(parents=True, exist_ok=True)
        store = ["-alias", "broker", "-keystore", str(self._keys), "-storepass", _STORE]
        names = ["-dname", "CN=broker", "-ext", "san=ip:127.0.0.1,dns:localhost"]
        _keytool("-genkeypair", *store, "-keyalg", "EC", "-storetype", "PKCS12", *names)
        _keytool("-exportcert", *store, "-rfc", "-file", str(self.ca))
        super().__init__(folder)

    def _settings(self, broker: int, home: Path) -> dict[str, object]:
        settings = super()._settings(broker, home)
        login = "org.apache.kafka.common.security.plain.PlainLoginModule"
        prefix = "listener.name.sasl_ssl"
        for name in ("listeners", "advertised.listeners"):
            settings[name] = f"{settings[name]},SASL_SSL://127.0.0.1:{self._secured}"
        return settings | {
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL"
            ),
            "sasl.enabled.mechanisms": "PLAIN",
            f"{prefix}.plain.sasl.jaas.config": f'{login} required user_{USER}="{PASSWORD}";',
            f"{prefix}.ssl.keystore.location": self._keys,
            f"{prefix}.ssl.keystore.password": _STORE,
            f"{prefix}.ssl.keystore.type": "PKCS12",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:ANONYMOUS",
        }

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a flow that is the user."""
        own = {
            "BOOTSTRAP_SERVERS": f"127.0.0.1:{self._secured}",
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SSL_CA_LOCATION": str(self.ca),
            "SASL_MECHANISM": "PLAIN",
            "SASL_USERNAME": USER,
            "SASL_PASSWORD": PASSWORD,
        }
        return {f"MILLSTREAM_KAFKA_{name}": value for name, value in own.items()}

    def allow(self, rights: Iterable[Right]) -> None:
        """Let the user have these rights, and no others."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        every = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, None, None,
            AclOperation.ANY, AclPermissionType.ANY,
        )  # fmt: skip
        for gone in admin.delete_acls([every]).values():
            gone.result(30)
        wanted = [
            AclBinding(
                ResourceType[kind], name, ResourcePatternType.LITERAL, f"User:{USER}", "*",
                AclOperation[operation], AclPermissionType.ALLOW,
            )
            for operation, kind, name in rights
        ]  # fmt: skip
        if wanted:
            for made in admin.create_acls(wanted).values():
                made.result(30)


def _keytool(*arguments: str) -> None:
    # It comes with Java, of any kind.
    tool = shutil.which("keytool") or "keytool"
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"keytool: {done.stdout}{done.stderr}")


@contextlib.contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """Run the broker for the length of a block."""
    broker = SecuredKafka(folder)
    try:
        broker.start_all()
        yield broker
    finally:
        broker.close()
