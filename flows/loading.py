"""Loading: a flow's settings, and the contract, the features and the rules of its streams."""

from flows import settings as settings_
from flows.control import not_listed
from flows.environment import PREFIX
from flows.privacy import told_to_topics, unfit
from flows.settings import Settings
from flows.streams import Stream
from flows.tables import thresholds_of
from flows.told import told
from operators.contracts import load_contract
from operators.rules.rules import RuleError, RuleSet, load_rules

Loaded = tuple[Settings, list[tuple[Stream, RuleSet | None]]]
"""The settings, and the streams as they are with them, each with its rules."""


def load(*streams: Stream, sliced: bool = False) -> Loaded:
    """Read the settings, and the contract, the features and the rules of each stream.

    A flow that keeps nothing but by partition may be `sliced`, as far as the features let it.
    Raises SettingsError, ContractError, FeatureError and RuleError.
    """
    settings = settings_of(*streams, sliced=sliced)
    found = [settings.stream(each) for each in streams]
    others = [f.name for each in found for f in each.features.by_another]
    if settings.share and others:
        raise settings_.SettingsError(
            f"{PREFIX}SLICE: features that are not of the topic's key alone "
            f"({', '.join(others)}) need all partitions: take them out of the rules' folder, or "
            "run processes of one cluster (-i, -a)"
        )
    return settings, [(each, rules_of(each, settings)) for each in found]


def settings_of(*streams: Stream, sliced: bool = False) -> Settings:
    """Read the settings, and the contract of each stream.

    Raises SettingsError, also where there are slices and the flow cannot be `sliced`, and
    ContractError.
    """
    settings = settings_.load(recovery=told().recovery)
    for each in streams:
        load_contract(each.record)
    if problems := list(dict.fromkeys(unfit(settings, streams))):
        raise settings_.SettingsError("\n".join(problems))
    if settings.share and not sliced:
        raise settings_.SettingsError(
            f"{PREFIX}SLICE: only the alerts and the enforce flow run in slices: this one puts "
            "together what is of several partitions, so run it as processes of one cluster "
            "(-i, -a)"
        )
    return settings


def rules_of(stream: Stream, settings: Settings) -> RuleSet | None:
    """Return the rules of a stream that flows evaluate, None if it has no rules at all.

    Of a draft or a paused rule only its file's form is looked at: neither keeps a flow from
    starting. Raises FeatureError, and RuleError also for thresholds that are none.
    """
    folder = settings.of(stream).rules
    if folder is None or stream.rules is None:
        return None
    if stream.decides:
        thresholds_of(stream, settings.of(stream))
    evaluated = [each for each in load_rules(folder) if each.evaluated]
    found = RuleSet(evaluated, stream.columns, stream.id, stream.key)
    problems = [
        said
        for each in evaluated
        for why in (not_listed, told_to_topics)
        if (said := why(stream, each))
    ]
    if problems:
        raise RuleError("\n".join(problems))
    return found
