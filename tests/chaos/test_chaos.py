"""The short form of the chaos bench: each of these faults once or so; `make chaos` has hundreds."""

import pytest

from tests.chaos.faults import changes, enforced_letters, letters, processes, servers, storage
from tests.chaos.world import Result, World, world
from tests.servers import kafka, redis

_MISSING = kafka.missing() or redis.missing()
pytestmark = pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING))


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("chaos")
    with world(folder, seed=1, records=700, largest=2) as running:
        assert running.reference["silver/payments"].height > 500
        yield running


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (changes.kill, 2),
        (letters.repaired, 2),
        (enforced_letters.repaired, 2),
        (servers.redis_emptied, 1),
        (storage.disk, 1),
        pytest.param(processes.two_copies, 1, marks=pytest.mark.slow),
        pytest.param(servers.partitions_added, 1, marks=pytest.mark.slow),
    ],
    ids=lambda value: f"{value.__module__}.{value.__name__}" if callable(value) else str(value),
)
def test_tables_and_topics_are_those_of_an_undisturbed_run(here, fault, times):
    result = Result(fault.__name__)
    fault(here, result, times)
    assert not result.problems
    assert result.differences == 0
    assert result.times >= times
    assert result.rows > 600
