"""Changes of rules, lists and thresholds, as people send and look at them."""
