"""The field's tests: faults that users of comparable systems met, on real servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.local import Stack
from tests.field.topic import Field
from tests.servers import kafka
from tests.servers.secured import SecuredKafka, secured_kafka


@pytest.fixture
def local(stack: Stack, tmp_path: Path) -> Field:
    """Give a topic of one's own on the local stack's broker, for what any broker will do."""
    return Field(stack, stack.bootstrap, tmp_path)


@pytest.fixture
def field(stack: Stack, apache: str, tmp_path: Path) -> Field:
    """Give a topic of one's own on Apache Kafka, and a Redis."""
    return Field(stack, apache, tmp_path)


# Not the session's: a broker that waits takes a thirtieth of a core, and few files use it.
@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """Give a broker of one's own, with passwords and rights, that may be killed and started."""
    if why := kafka.missing_own():
        pytest.skip(why)  # no Java or Maven; where they are CI refuses the skip
    with secured_kafka(tmp_path_factory.mktemp("secured")) as running:
        yield running
