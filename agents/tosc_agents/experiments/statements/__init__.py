"""The article's eight statements, judged by the rows of the experiments.

==============  ===========================================================================================
``comparing``   when one row is above another, and comparisons that say so in words
``measured``    the rows, found again by what they measure; what is absent is said, never guessed
``parts``       named sub-claims, and what many comparisons make of one
``accuracy``    statements 1 and 2: accuracy over the SNR
``privacy``     statements 3 and 5: leaks over the SNR, and the trade-off
``budgets``     statement 4: what a privacy budget buys
``faces``       statements 6 and 7: CelebA
``cost``        statement 8: time
``judging``     the verdicts and their table
==============  ===========================================================================================
"""

from tosc_agents.experiments.statements.comparing import clearly_above
from tosc_agents.experiments.statements.judging import (
    FAILS,
    HOLDS,
    IN_PART,
    UNTESTED,
    Statement,
    judge,
    statements_findings,
)

__all__ = [
    "FAILS",
    "HOLDS",
    "IN_PART",
    "UNTESTED",
    "Statement",
    "clearly_above",
    "judge",
    "statements_findings",
]
