"""What tests of pods begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.local import Stack, local_stack


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """Servers of the test's own, as the topics are called what the manifests call them."""
    with local_stack(tmp_path / "stack") as running:
        yield running
