"""What an aggregate comes to, by a loop."""


def aggregated(aggregate, values):
    """Return that of values, of which those that are null or no number do not count."""
    values = [v for v in values if v is not None and v == v]
    if aggregate == "distinct":
        return len(set(values))
    if aggregate == "sum":
        return sum(values)
    if aggregate == "mean":
        return sum(values) / len(values) if values else None
    return (min if aggregate == "min" else max)(values, default=None)
