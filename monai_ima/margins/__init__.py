"""Margins: one radius ε per training sample, Algorithm 2, which moves them, and what they say of a data set."""

from .rules import AttackOutcome, OutcomeLog, RadiusAccumulator, Rule, coarse_delta, epoch_rule, online_rule
from .summary import MarginSummary, load_margins, summarize_margins
from .table import MarginTable

__all__ = [
    "AttackOutcome",
    "MarginSummary",
    "MarginTable",
    "OutcomeLog",
    "RadiusAccumulator",
    "Rule",
    "coarse_delta",
    "epoch_rule",
    "load_margins",
    "online_rule",
    "summarize_margins",
]
