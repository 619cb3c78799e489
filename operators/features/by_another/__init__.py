"""Features by another key than the topic's: of all partitions' events, as of a lag before each.

The value for an event at time t is of the events of its key in the panes of the horizon that end
at t' or before, which is t less the lag, brought down to a pane's end. See `Span` and `KeyGroup`.
Those from labels are of what is known as of t' of the key's events: see `LabelLog`.
"""

from operators.features.by_another.assembly import Aside, Assembly
from operators.features.by_another.group import Answer, KeyGroup
from operators.features.by_another.label_judge import Known, LabelJudge
from operators.features.by_another.label_rows import LabelRows
from operators.features.by_another.requests import WOKEN, Requests
from operators.features.by_another.spec import Question, as_stated, questions

__all__ = [
    "WOKEN",
    "Answer",
    "Aside",
    "Assembly",
    "KeyGroup",
    "Known",
    "LabelJudge",
    "LabelRows",
    "Question",
    "Requests",
    "as_stated",
    "questions",
]
