"""Public checkers: run them on your own scheme, stage, objective, attacker, channel or environment in your own tests.

Each raises AssertionError with a sentence about the first law that is broken, and returns None otherwise; ``device`` is
where the object is run, on a copy, and ``seed`` that of all random inputs.  They need no test framework, and this
project's own objects are tested with them.

Example:
    >>> from tosc_env.channels.flat import AWGN
    >>> check_channel(AWGN())
    >>> check_stage("keyed")
"""

from tosc_env.testing.channel import check_channel
from tosc_env.testing.eavesdropper import check_eavesdropper
from tosc_env.testing.objective import check_objective
from tosc_env.testing.scheme import check_scheme
from tosc_env.testing.stage import check_stage
from tosc_env.testing.vector import check_vector_env

__all__ = [
    "check_channel",
    "check_eavesdropper",
    "check_objective",
    "check_scheme",
    "check_stage",
    "check_vector_env",
]
