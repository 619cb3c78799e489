"""The doctor: what a flow needs, tried; nothing is left behind."""
