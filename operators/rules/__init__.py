"""Rules: conditions on one row that raise alerts, and their cases."""
