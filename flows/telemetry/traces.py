"""Traces: a span for each epoch of a process, in which its commits and its end are.

Sent by OTLP over HTTP to where OTEL_EXPORTER_OTLP_ENDPOINT says.
"""

import atexit
import os
import threading
import time
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer, set_span_in_context

from flows.reporting import Counts
from flows.told import told
from operators.connectors.observers import OBSERVERS, Committed


def begin(flow: str) -> None:
    """Send a span for each epoch from now on; what is left when the process ends is sent then."""
    about: dict[str, str | int] = {
        "service.version": version("millstream"), "millstream.process": told().process
    }  # fmt: skip
    if "OTEL_SERVICE_NAME" not in os.environ:
        about["service.name"] = f"millstream-{flow}"
    # Shut down behind Bytewax, which ends the last epoch: the provider's own hook comes too soon.
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    atexit.register(provider.shutdown)
    epochs = Epochs(provider.get_tracer("millstream", version("millstream")))
    atexit.register(epochs.close)
    OBSERVERS.committed.append(epochs.committed)
    OBSERVERS.settled.append(epochs.settled)


class Epochs:
    """Makes spans of epochs, each from the end of the one before to its own."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer, self._lock = tracer, threading.Lock()
        self._commits: list[Committed] = []
        self._number, self._began, self._counts = 0, time.time(), Counts.now()

    def committed(self, commit: Committed) -> None:
        """Note a commit of the epoch that is under way."""
        with self._lock:
            self._commits.append(commit)

    def close(self) -> None:
        """Make the span of the last epoch, behind which no source is asked any more."""
        if self._commits:
            self.settled(time.time() - min(each.began for each in self._commits))

    def settled(self, took: float) -> None:
        """Make the span of the epoch that is durable now, whose end took so many s."""
        now, counts = time.time(), Counts.now()
        with self._lock:
            commits, self._commits = self._commits, []
        self._number += 1
        read = counts.since(self._counts)
        epoch = self._tracer.start_span(
            "epoch",
            start_time=_nanos(self._began),
            attributes={
                "millstream.epoch": self._number,
                "millstream.records": read.records,
                "millstream.rejects": read.rejects,
                "millstream.duplicates": read.duplicates,
            },
        )
        within = set_span_in_context(epoch)
        end = self._tracer.start_span(
            "end of epoch", context=within, start_time=_nanos(now - took)
        )
        for each in commits:
            span = self._tracer.start_span(
                f"commit {each.table}",
                context=set_span_in_context(end),
                start_time=_nanos(each.began),
                attributes={
                    "millstream.table": each.table,
                    "millstream.version": each.version,
                    "millstream.rows": each.rows,
                },
            )
            span.end(_nanos(each.ended))
        end.end(_nanos(now))
        epoch.end(_nanos(now))
        self._began, self._counts = now, counts


def _nanos(seconds: float) -> int:
    return int(seconds * 1e9)
