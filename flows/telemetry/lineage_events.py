"""Lineage events: OpenLineage's, of each commit, from the topics to the table.

A process is a run of the flow's job, which starts, tells of each commit as it runs, and completes
or is aborted. Datasets are named as OpenLineage has it: topics by their brokers, tables by where
they lie. The events go where OPENLINEAGE_URL, or another setting of its client, says.
"""

import atexit
import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    dataset_version_dataset,
    job_type_job,
    output_statistics_output_dataset,
    schema_dataset,
)
from openlineage.client.uuid import generate_new_uuid

from flows import catalog
from flows.flow_settings import FlowSettings
from flows.lineage import Column, TableLineage, lineage_of
from flows.loading import rules_of
from flows.settings import Settings
from flows.starting import at_good_end
from operators import metrics
from operators.connectors.delta.paths import local_folder, table_uri
from operators.connectors.observers import OBSERVERS, Committed
from operators.rules.rules import RuleSet

LOG: Final = logging.getLogger("millstream.lineage")

_WAITING: Final = 1_000
_END_SECONDS: Final = 5.0


def begin(flow: str, settings: FlowSettings) -> None:
    """Send an event of the start, from now on of each commit, and of the end."""
    rules: dict[str, RuleSet | None] = {}
    if isinstance(settings, Settings):
        (found,) = (each for each in catalog.flows(settings) if each.name == flow)
        rules = {each.name: rules_of(each, settings) for each in found.reads}
    else:
        # Its topics are no declared streams.
        (found,) = catalog.enforcing()
    events = Events(flow, settings, lineage_of(found, rules), found.topics)
    sender = Sender(OpenLineageClient().emit)
    sender.put(events.of(RunState.START))
    OBSERVERS.committed.append(lambda commit: sender.put(events.of(RunState.RUNNING, commit)))
    # In the other order: a good end is told before it is known to be none.
    atexit.register(sender.end, events.of(RunState.ABORT))
    at_good_end(lambda: sender.end(events.of(RunState.COMPLETE)))


class Events:
    """Makes the events of one run of a flow."""

    def __init__(
        self, flow: str, settings: FlowSettings, tables: list[TableLineage], topics: list[str]
    ) -> None:
        self._brokers = f"kafka://{settings.kafka['bootstrap.servers'].split(',')[0]}"
        self._inputs, self._tables = topics, {each.table.name: each for each in tables}
        self._root = settings.delta_root
        self._run = Run(runId=str(generate_new_uuid()))
        kind = job_type_job.JobTypeJobFacet(
            processingType="STREAMING", integration="MILLSTREAM", jobType="FLOW"
        )
        namespace = os.environ.get("OPENLINEAGE_NAMESPACE", "millstream")
        self._job = Job(namespace=namespace, name=flow, facets={"jobType": kind})

    def of(self, state: RunState, commit: Committed | None = None) -> RunEvent:
        """Return an event: of a commit, or of the run with every table that it writes."""
        if commit is None:
            topics = self._inputs
            outputs = [self._output(each) for each in self._tables.values()]
        else:
            made = self._tables[commit.table]
            topics, outputs = [*made.topics], [self._output(made, commit)]
        return RunEvent(
            eventType=state,
            eventTime=datetime.now(UTC).isoformat(),
            run=self._run,
            job=self._job,
            inputs=[InputDataset(namespace=self._brokers, name=topic) for topic in topics],
            outputs=outputs,
            producer=f"urn:millstream:{version('millstream')}",
        )

    def _output(self, made: TableLineage, commit: Committed | None = None) -> OutputDataset:
        table = made.table
        facets: dict[str, Any] = {
            "schema": schema_dataset.SchemaDatasetFacet(
                fields=[
                    schema_dataset.SchemaDatasetFacetFields(name=name, type=str(kind))
                    for name, kind in table.schema.items()
                ]
            )
        }
        columns = {name: self._fields(each) for name, each in made.columns.items() if each.of}
        if columns:
            facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(columns)
        counted: dict[str, Any] = {}
        if commit is not None:
            facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
                datasetVersion=str(commit.version)
            )
            counted["outputStatistics"] = (
                output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                    rowCount=commit.rows
                )
            )
        namespace, name = named(table_uri(self._root, table.name))
        return OutputDataset(
            namespace=namespace, name=name, facets=facets, outputFacets=counted
        )

    def _fields(self, column: Column) -> column_lineage_dataset.Fields:
        how = column_lineage_dataset.Transformation(
            type="DIRECT", subtype=column.how.upper(), description=column.by
        )
        return column_lineage_dataset.Fields(
            inputFields=[
                column_lineage_dataset.InputField(
                    namespace=self._brokers,
                    name=each.topic,
                    field=each.name,
                    transformations=[how],
                )
                for each in column.of
            ]
        )


def named(uri: str) -> tuple[str, str]:
    """Return the namespace and the name of a table that lies at a path or URL.

    As https://openlineage.io/docs/spec/naming has it.
    """
    folder = local_folder(uri)
    if folder is not None:
        return "file", str(folder)
    url = urlsplit(uri)
    return f"{url.scheme}://{url.netloc}", url.path.strip("/")


class Sender:
    """Sends events from a thread of its own; what waits too long, or fails, is dropped."""

    def __init__(self, emit: Callable[[RunEvent], Any]) -> None:
        self._emit = emit
        self._waiting: queue.Queue[RunEvent | None] = queue.Queue(_WAITING)
        self._failing = self._ended = False
        self._thread = threading.Thread(target=self._send, name="lineage", daemon=True)
        self._thread.start()

    def put(self, event: RunEvent) -> None:
        """Have an event sent."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            metrics.LINEAGE_EVENTS.labels("dropped").inc()

    def end(self, event: RunEvent) -> None:
        """Have a last event sent, once, and wait some seconds for all that is still to be sent."""
        if self._ended:
            return
        self._ended = True
        self.put(event)
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
            self._thread.join(_END_SECONDS)

    def _send(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                self._emit(event)
            except Exception as error:  # transports raise what their libraries do
                metrics.LINEAGE_EVENTS.labels("failed").inc()
                if not self._failing:
                    LOG.warning(
                        "lineage events cannot be sent (%s); the flow goes on without",
                        type(error).__name__,
                    )
                self._failing = True
                continue
            metrics.LINEAGE_EVENTS.labels("sent").inc()
            if self._failing:
                LOG.info("lineage events are sent again")
            self._failing = False
