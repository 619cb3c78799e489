"""What small models are trained on: features of a card, a terminal and of labels."""

FEATURES = {
    "terminal_frauds_7d": """\
name: terminal_frauds_7d
version: 1
description: Payments at the terminal that became known as frauds.
from: labels
by: terminal_id
horizon: 7d
aggregate: count
where: verdict = 'FRAUD'
""",
    "terminal_24h": """\
name: terminal_24h
version: 1
description: Payments at the terminal.
by: terminal_id
horizon: 24h
aggregate: count
""",
}
INPUTS = {
    "amount": "amount_minor",
    "known": "terminal_frauds_7d",
    "busy": "terminal_24h",
    "often": "card_count_24h",
}
