"""Rules as they are known: a folder's, and what a control topic has changed of them."""

from deltalake import DeltaTable

from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.paths import table_uri
from operators.control.changes import Span
from operators.rules.rule import Rule
from operators.rules.rules import load_rules
from ops.control.changing import Changing, refuse


class Known:
    """The rules of a stream: its folder's, and what is changed of them."""

    def __init__(self, changing: Changing) -> None:
        self.changing = changing
        folder = changing.settings.of(changing.stream).rules
        self.files = {each.id: each for each in load_rules(folder)} if folder else {}
        self.spans = changing.named("rule")

    @property
    def names(self) -> list[str]:
        """Those of all rules."""
        return sorted({*self.files, *self.spans})

    def span(self, name: str) -> Span | None:
        """Return the change that holds now of a rule."""
        now = self.changing.now
        found = [each for each in self.spans.get(name, ()) if each.begins <= now < each.ends]
        return found[0] if found else None

    def next(self, name: str) -> Span | None:
        """Return the one that holds next."""
        now = self.changing.now
        return next((each for each in self.spans.get(name, ()) if each.begins > now), None)

    def newest(self, name: str) -> Rule:
        """Return a rule as it holds once all that was sent does; ends the process if none does."""
        rule = self.files.get(name)
        if self.spans.get(name):
            content = self.spans[name][-1].change.content
            rule = content if isinstance(content, Rule) else rule
        if rule is None:
            refuse(f"there is no rule {name}: there are {', '.join(self.names)}")
        return rule

    def now(self, name: str) -> Rule | None:
        """Return a rule as it holds now."""
        span = self.span(name)
        if span is not None and isinstance(span.change.content, Rule):
            return span.change.content
        return self.files.get(name)

    def versions(self, name: str) -> dict[int, Rule]:
        """Return every version that is known of a rule, the newest of each."""
        found = [self.files[name]] if name in self.files else []
        for each in self.changing.state.changes:
            if each.kind == "rule" and each.name == name and isinstance(each.content, Rule):
                found.append(each.content)
        return {each.version: each for each in found}


def refused(known: Known, rule: Rule) -> list[str]:
    """Return why a rule whose cases hold cannot be put to work."""
    versions, problems = known.versions(rule.id), []
    same = versions.get(rule.version)
    newest = max(versions, default=0)
    if same is not None and same.definition != rule.definition:
        problems.append(
            f"version {rule.version} is known with another text: give it {newest + 1}"
        )
    elif rule.version < newest:
        problems.append(
            f"version {rule.version} is older than {newest}: millstream rules rollback "
            f"{rule.id} --to {rule.version} goes back"
        )
    settings, stream = known.changing.settings, known.changing.stream
    uri = table_uri(settings.delta_root, stream.silver.name)
    if DeltaTable.is_deltatable(uri):
        lacking = sorted((rule.reads & {*stream.columns}) - columns_of(DeltaTable(uri)).keys())
        problems += [
            f"uses {each}, which the running flow has not: start it with that feature first"
            for each in lacking
        ]
    return problems
