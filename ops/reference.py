"""Reference: settings, metrics and views as pages, rules of alerts as Kubernetes wants them.

``python -m ops.reference`` writes them; a test refuses those that are not as the code.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from flows.enforced.loading import INHERITED
from flows.enforced.settings import EnforceSettings
from flows.environment import ENFORCE_PREFIX
from flows.kafka_settings import NEEDED
from flows.ports import PORTS
from flows.registry_settings import RegistrySettings
from flows.secret_files import SECRETS, SUFFIX
from flows.settings import PREFIX, Settings, prefix_of
from flows.streams import PAYMENTS, STREAMS
from flows.streams.settings import OWN, StreamSettings
from flows.streams.stream import Stream
from operators import metrics
from operators.columns.durations import in_short
from ops.bi.reference import bi_page

ROOT: Final = Path(__file__).parents[1]
_MADE: Final = "<!-- Made of the code by `make docs`. -->"
_INHERITED: Final = "as of payments"
_ENGINE: Final = {
    "BYTEWAX_SNAPSHOT_INTERVAL": "seconds of an epoch; needed with `-r`",
    "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0; needed with `-r`",
    "BYTEWAX_DATAFLOW_API_ENABLED": "metrics are served ([Metrics](metrics.md)); not where it is "
    "`0`, `false`, `no`, `off` or empty",
    "BYTEWAX_DATAFLOW_API_PORT": "their port; unless set each flow has [its own](metrics.md)",
}


def settings_page() -> str:
    """Return the page of settings: variable, default, meaning."""
    kafka = [
        f"`{PREFIX}KAFKA_BOOTSTRAP_SERVERS`",
        "required",
        f"and any librdkafka setting, `{PREFIX}KAFKA_SASL_USERNAME` for `sasl.username`, but "
        "[those that a flow needs its own way](#kafkas-that-are-not-for-setting)",
    ]
    registry = RegistrySettings.model_fields
    others = {"kafka", "streams", *registry, *StreamSettings.model_fields}
    common = {n: each for n, each in Settings.model_fields.items() if n not in others}
    parts = [
        "# Settings",
        _MADE,
        "From the environment; wrong or missing ones are all named at once, and the process ends "
        "with 2\n([how a process ends](operations.md#how-a-process-ends)). Durations are such as "
        "`500ms`, `30s`, `5m`, `2h` or `7d`.",
        "## All flows",
        _table(["variable", "default", ""], [kafka, *_rows(PREFIX, common, {})]),
        "## The schema registry",
        _table(["variable", "default", ""], _rows(PREFIX, registry, {})),
        "## Payments, and what is not set of other streams",
        "Streams have each of these with their own names in it; but for topics, group and rules, "
        "what is not\nset of them is as for payments.",
        _table(["variable", "default", ""], _rows(PREFIX, *_of(PAYMENTS))),
    ]
    for stream in STREAMS[1:]:
        parts += [f"## {stream.name.capitalize()}"]
        parts += [_table(["variable", "default", ""], _rows(prefix_of(stream), *_of(stream)))]
    parts += [
        "## Enforced topics",
        "[Topics that are held to schemas](enforce.md) are declared in files; the flow needs no "
        "Redis. What is\nnot set of these and payments have too is as for payments.",
        _table(
            ["variable", "default", ""],
            _rows(
                ENFORCE_PREFIX,
                EnforceSettings.model_fields,
                dict.fromkeys(INHERITED, _INHERITED),
            ),
        ),
    ]
    needed = [
        [f"`{name}`", ", ".join(f"`{each}`" for each in fine) or "none", why]
        for name, (fine, why) in NEEDED.items()
    ]
    parts += [
        "## Secrets in files",
        f"Each of these may be in a file instead, which the variable with `{SUFFIX}` behind its "
        f"name names,\nsuch as `{SECRETS[0]}{SUFFIX}`: the secret alone, read once at the start. "
        "Refused where both are set, where\nthe file cannot be read and where it is empty. A "
        "registry's token and the keys of privacy have\nfiles of their own.",
        "\n".join(f"- `{name}`" for name in SECRETS),
        "## The engine's",
        _table(["variable", ""], [[f"`{name}`", text] for name, text in _ENGINE.items()]),
        "## Kafka's that are not for setting",
        "librdkafka's settings that a flow needs its own way: other values are refused at the "
        "start.",
        _table(["setting", "may be", "as"], needed),
    ]
    return "\n\n".join(parts) + "\n"


def metrics_page() -> str:
    """Return the page of metrics: name, type, labels, meaning."""
    rows = [
        [
            f"`{exposed(each)}`",
            str(each._type),
            ", ".join(each._labelnames),
            str(each._documentation),
        ]
        for each in every_metric()
    ]
    return "\n\n".join(
        [
            "# Metrics",
            _MADE,
            "On Bytewax's own endpoint, `/metrics`, when `BYTEWAX_DATAFLOW_API_ENABLED` is set. "
            "Each flow has a port of\nits own, its first process this one, other processes of a "
            "cluster, and slices, those that follow;\n`BYTEWAX_DATAFLOW_API_PORT` names another "
            "(in the image it is 3030, whichever flow runs). Where a port\nis taken the flow does "
            "not start, and names one that is free.",
            _table(["flow", "port"], [[each, str(port)] for each, port in PORTS.items()]),
            _table(["metric", "type", "labels", ""], rows),
        ]
    ) + "\n"  # fmt: skip


def every_metric() -> Iterator[MetricWrapperBase]:
    """Return each metric that flows have of their own."""
    return (each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase))


def exposed(metric: MetricWrapperBase) -> str:
    """Return the name that a metric is asked for by."""
    return f"{metric._name}_total" if metric._type == "counter" else metric._name


def rule_resource() -> str:
    """Return Prometheus' rules as a resource of its operator."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "millstream",
            "labels": {"app.kubernetes.io/part-of": "millstream"},
        },
        "spec": yaml.safe_load((ROOT / "k8s" / "watching" / "rules.yaml").read_text("utf-8")),
    }
    made = yaml.safe_dump(resource, sort_keys=False, allow_unicode=True, width=96)
    return f"# Made of rules.yaml by `make docs`.\n{made}"


PAGES: Final = {
    "docs/settings.md": settings_page,
    "docs/metrics.md": metrics_page,
    "docs/bi.md": bi_page,
    "k8s/watching/prometheusrule.yaml": rule_resource,
}


def _of(stream: Stream) -> tuple[dict[str, FieldInfo], dict[str, str]]:
    """Return a stream's fields, and defaults that are not the fields' own."""
    fields = {name: stream.settings.model_fields[name] for name in stream.setting_names}
    defaults = {
        name: _shown(value) for name, value in stream.own_settings().items() if name in fields
    }
    if stream.name != PAYMENTS.name:
        usual = StreamSettings.model_fields
        defaults |= {
            name: _INHERITED
            for name, each in fields.items()
            if name in usual and name not in OWN and each.default == usual[name].default
        }
    return fields, defaults


def _rows(
    prefix: str, fields: Mapping[str, FieldInfo], defaults: Mapping[str, str]
) -> list[list[str]]:
    return [
        [
            f"`{prefix}{name.upper()}`",
            defaults.get(name) or ("required" if each.is_required() else _shown(each.default)),
            "" if defaults.get(name) == _INHERITED else each.description or "",
        ]
        for name, each in fields.items()
    ]


def _shown(value: Any) -> str:
    """Return a default as it would be set."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, timedelta):
        value = in_short(value)
    elif isinstance(value, Path):
        value = value.relative_to(ROOT)
    return f"`{value}`"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in cells)


if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / name).write_text(page(), "utf-8")
