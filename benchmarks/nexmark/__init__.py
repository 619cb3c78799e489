"""Nexmark: queries over the auctions of a made-up site, on Millstream's operators.

P. Tucker, K. Tufte, V. Papadimos and D. Maier, "NEXMark: a benchmark for queries over data
streams" (2002), with the event mix and the skew of Apache Beam's implementation.
"""
