"""The form of a refusal: the built-in kind of error, in one sentence that names the value and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pytest import ExceptionInfo

from tosc_env.errors import InputError

LONGEST = 300
LISTED = 1500
"""Weights that there are none of are told with the whole system and the nearest that there are."""


@contextmanager
def refused(
    words: str, error: type[BaseException] = InputError, *, longest: int = LONGEST
) -> Iterator[ExceptionInfo[BaseException]]:
    """Within, ``error`` must be raised, in one short sentence that holds each of ``words``, in whatever order.

    The words are the wrong value and what is allowed: how the sentence puts it is its own affair.
    """
    with pytest.raises(error) as caught:
        yield caught
    told = str(caught.value)
    missing = [word for word in words.split() if word not in told]
    assert not missing, f"{missing} not in: {told}"
    # Neither folders of a test nor lists of all that there is are part of the sentence's own length.
    short = re.sub(r"\S*/pytest-of-\S*/|(?<=vailable): .*", "", told)
    assert "\n" not in told and told.endswith(".") and len(short) < longest, told
