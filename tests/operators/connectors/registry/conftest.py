"""A registry, and a client of it."""

from collections.abc import Iterator

import pytest

from operators.connectors.registry.client import RegistryClient
from tests.operators.connectors.registry_server import Registry, serving


@pytest.fixture
def server() -> Iterator[Registry]:
    with serving() as running:
        yield running


@pytest.fixture
def client(server: Registry) -> RegistryClient:
    return RegistryClient(server.url, {})
