"""``millstream verify``: read the topics and the tables, and prove that the books balance."""

from ops.verify.books import verify
from ops.verify.report import Check, Report

__all__ = ["Check", "Report", "verify"]
