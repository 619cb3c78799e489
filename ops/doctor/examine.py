"""Examining: every question there is to ask of flows and what they need, in order."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from flows import settings as settings_
from flows.catalog import Flow, all_flows
from flows.connecting import rules_of
from operators.connectors.recovery_owner import OtherOwnerError
from operators.contracts import ContractError, load_contract
from operators.features import FeatureError
from operators.rules.rules import RuleError
from ops.advice import divided
from ops.doctor import tables
from ops.doctor.checks import Check, Question, answers
from ops.doctor.machine import folder, storage, versions
from ops.doctor.servers import Servers
from ops.stores import stores


class NoFlowError(ValueError):
    """There is no flow of a name."""


def examine(names: Sequence[str], directories: Sequence[Path]) -> Iterator[Check]:
    """Look at flows by name, with the settings of the environment, and at recovery directories.

    Raises NoFlowError.
    """
    yield from answers([Question("versions", versions)])
    try:
        recovery = directories[0] if len(directories) == 1 else None
        known = all_flows(rules_of, recovery=recovery)
        for flow in known:
            # Those of topics that are enforced were read with their settings.
            for stream in () if flow.enforces else flow.reads:
                load_contract(stream.record)
    except (settings_.SettingsError, ContractError, FeatureError, RuleError) as error:
        for line in str(error).splitlines():
            yield Check("settings", "wrong", *divided(line))
        yield Check("all else", "not tried", "needs: settings")
        return
    for name in names:
        if name not in [each.name for each in known]:
            raise NoFlowError(
                f"there is no flow {name}: {', '.join(each.name for each in known)}"
            )
    yield Check("settings", "ok", "settings, contracts and rules hold")
    try:
        owned = {each.flow: each.directory for each in stores(directories)}
    except OtherOwnerError as error:
        yield Check("recovery directories", "wrong", *divided(str(error)))
        return
    chosen = [each for each in known if each.name in (names or owned)] or [known[0]]
    yield from answers(list(_questions(chosen, owned, directories)))


def _questions(
    chosen: Sequence[Flow], owned: dict[str | None, Path], directories: Sequence[Path]
) -> Iterator[Question]:
    settings = chosen[0].settings
    servers = Servers(settings)
    yield Question("tables' storage", partial(storage, settings.delta_root))
    for each in directories:
        yield Question(f"recovery directory {each}", partial(folder, each.absolute(), "-r"))
    yield Question("brokers", servers.brokers)
    others = not all(flow.enforces for flow in chosen)
    if others:
        yield Question("Redis", servers.redis)
    if others or settings.schema_registry.get_secret_value():
        yield Question("registry", servers.registry)
    asked: set[str] = set()
    for flow in chosen:
        for topic in flow.topics:
            if topic not in asked:
                yield Question(f"topic {topic}", partial(servers.read, topic), ["brokers"])
                yield Question(
                    f"clock of topic {topic}",
                    partial(servers.newest, topic),
                    [f"topic {topic}"],
                )
        for topic in flow.sends:
            if topic not in asked:
                other = flow.topics[0]
                ask = partial(servers.write, topic, other)
                yield Question(f"topic {topic}", ask, [f"topic {other}"])
        if flow.control is not None and flow.control not in asked:
            asked.add(flow.control)
            ask_control = partial(servers.control, flow.control)
            yield Question(f"topic {flow.control}", ask_control, ["brokers"])
        asked |= {*flow.topics, *flow.sends}
        yield Question(f"group {flow.group}", partial(servers.group, flow.group), ["brokers"])
        yield from _of_state(flow, servers, owned.get(flow.name, _unowned(chosen, owned)))


def _unowned(chosen: Sequence[Flow], owned: dict[str | None, Path]) -> Path | None:
    """Return the recovery directory without a store, whose it can only be."""
    return owned.get(None) if len(chosen) == 1 else None


def _of_state(flow: Flow, servers: Servers, directory: Path | None) -> Iterator[Question]:
    needs = [f"topic {topic}" for topic in flow.topics]
    yield Question(f"open files of {flow.name}", partial(servers.files, flow), needs)
    known = servers.topics, servers.identities
    if flow.tables:
        needs = [*needs, "tables' storage"]
        name = f"tables of {flow.name}"
        yield Question(name, partial(tables.tables, flow, *known), needs)
        needs = [*needs, name]
    if directory is not None:
        name = f"recovery store of {flow.name}"
        yield Question(name, partial(tables.store, flow, directory, *known), needs)
