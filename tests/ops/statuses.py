"""Looks at flows as `millstream status` does."""

from rich.console import Console

from flows import settings as settings_
from flows.catalog import flows
from ops.status.flow_status import FlowStatus, Status
from ops.status.gather import gather
from ops.status.show import screen
from ops.stores import stores
from tests.field.topic import Field

AWAY = "127.0.0.1:9"


def look(
    field: Field, *, store: str = "state/payments", metrics: str = AWAY, **changes
) -> Status:
    """Return the status of all flows; `changes` are settings without MILLSTREAM_."""
    own = {f"MILLSTREAM_{key}": value for key, value in changes.items()}
    found = flows(settings_.load(field.settings | own))
    return gather(found, stores([field.folder / store] if store else []), [metrics])


def payments_of(status: Status) -> FlowStatus:
    (found,) = (each for each in status.flows if each.flow == "payments")
    return found


def text(status: Status) -> str:
    console = Console(width=300, highlight=False)
    with console.capture() as captured:
        console.print(screen(status))
    return captured.get()
