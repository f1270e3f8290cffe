"""The contract of a method as a product: ``engram check METHOD``."""

from __future__ import annotations

from orchestrator.check.cases import CASES, Case, cases_for, make_subject
from orchestrator.check.checks import ALL_CHECKS, Check
from orchestrator.check.find import find_methods
from orchestrator.check.runs import Failure, Finding, Run, run_check, runs_of
from orchestrator.check.view import check_methods

__all__ = [
    "ALL_CHECKS",
    "CASES",
    "Case",
    "Check",
    "Failure",
    "Finding",
    "Run",
    "cases_for",
    "check_methods",
    "find_methods",
    "make_subject",
    "run_check",
    "runs_of",
]
