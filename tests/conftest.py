"""What the tests share: Polars as the flows set it up, Hypothesis's profile, a local stack."""

import os
from collections.abc import Iterator
from pathlib import Path

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
    "chaos/test_chaos.py",
    "test_by_hand.py",
    "flows/test_signals.py",
    "fixtures/test_release.py",
    "ops/test_demo.py",
    "field/test_topic_made_anew.py",
    "ops/test_verify.py",
    "flows/test_enforce.py",
    "flows/test_sources.py",
    "field/test_rights.py",
    "ops/test_verify_chargebacks.py",
    "operators/steps/test_keyed_steps.py",
    "field/test_chargeback_quality.py",
    "field/test_backfill.py",
    "flows/test_start.py",
    "field/test_positions.py",
    "k8s/test_processes.py",
    "flows/test_watchdog.py",
    "operators/steps/test_snapshots.py",
    "flows/test_enforce_quality.py",
    "field/test_upgrades.py",
    "field/test_decisions.py",
    "field/test_drift_and_quality.py",
    "field/test_redis_faults.py",
    "field/test_dlq_edit.py",
    "field/test_privacy.py",
    "field/test_mistakes.py",
    "ops/test_switching.py",
    "flows/test_alerts.py",
    "flows/test_enriched.py",
    "flows/test_workers.py",
    "field/test_warm_state.py",
    "flows/test_redis_lost.py",
    "field/test_outages.py",
    "field/test_control.py",
    "flows/test_kill.py",
    "test_readme.py",
    "fuzz/test_explore.py",
)
"""Files of more than a minute where several run at a time, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is left alone with one at the end."""
    order = {Path(__file__).parent / name: at for at, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))
