"""Control: rules, lists and thresholds that change while flows run, each from a time on."""
