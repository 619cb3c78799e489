"""Forgetting: a person's rows are taken out of every table, and what is left still adds up."""
