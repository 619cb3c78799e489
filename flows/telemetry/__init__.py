"""Telemetry: lineage events and traces, where the environment names whoever takes them.

Both are said by the variables of their own projects, OPENLINEAGE_… and OTEL_…, and cost nothing
where these are not set. Neither ever holds a flow up: what cannot be sent is dropped and counted.
"""

import os
from importlib.util import find_spec

from flows.flow_settings import FlowSettings
from operators.errors import KnownError


def begin(flow: str, settings: FlowSettings) -> None:
    """Tell from now on of a flow's commits and epochs.

    Raises KnownError where what is to be told needs a package that is not there.
    """
    if _lineage_wanted():
        _need("openlineage", "OPENLINEAGE_")
        # Most runs need neither this nor what it imports.
        from flows.telemetry import lineage_events

        lineage_events.begin(flow, settings)
    if _traces_wanted():
        _need("opentelemetry", "OTEL_")
        from flows.telemetry import traces

        traces.begin(flow)


def _lineage_wanted() -> bool:
    if os.environ.get("OPENLINEAGE_DISABLED", "").lower() == "true":
        return False
    names = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT")
    return any(name.startswith(names) for name in os.environ)


def _traces_wanted() -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(os.environ.get(name) for name in names)


def _need(package: str, prefix: str) -> None:
    if find_spec(package) is None:
        raise KnownError(
            f"{prefix}… is set, but {package} is not installed: pip install "
            "'millstream[telemetry]', or unset it"
        )
