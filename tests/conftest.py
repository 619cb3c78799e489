"""What the tests share: Polars as the flows set it up, Hypothesis's profile, a local stack."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# First of all, as it sets how many threads Polars starts when it is imported.
import flows  # noqa: F401
from ops.local import Stack, local_stack
from tests.servers import kafka
from tests.servers.shared import shared

# Flows are started hundreds of times: with this set each would be compiled anew, for a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile(
    "millstream",
    deadline=None,
    max_examples=30,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("millstream")
settings.register_profile("quick", max_examples=8)
# Others each time; a failure prints how to make it again.
settings.register_profile("thorough", max_examples=1_000, derandomize=False, print_blob=True)


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of an Apache Kafka broker, one for all processes of the run."""
    if why := kafka.missing():
        pytest.skip(why)  # no Java or Maven; where they are CI refuses the skip
    own = tmp_path_factory.getbasetemp()
    run = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with shared(run, "apache", lambda: kafka.bootstrap(own / "apache")) as running:
        yield running


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A broker and a Redis of our own, for the whole session."""
    with local_stack() as running:
        yield running


_LONGEST = (
    "test_kill.py",
    "test_chaos.py",
    "test_by_hand.py",
    "test_readme.py",
    "test_verify.py",
    "test_verify_chargebacks.py",
    "test_upgrades.py",
    "test_alerts.py",
    "test_watchdog.py",
    "test_rule_statuses.py",
    "test_release.py",
    "test_topic_made_anew.py",
    "test_other_engines.py",
    "test_warm_state.py",
    "test_workers.py",
    "test_join_changed.py",
    "test_against.py",
    "test_roofline.py",
    "test_switching.py",
    "test_processes.py",
    "test_demo.py",
    "test_chargeback_quality.py",
    "test_decisions.py",
    "test_control.py",
    "test_backfill.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)
