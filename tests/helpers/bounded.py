"""Python whose memory may not grow: what a stranger's file must not do to whoever opens it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

_PRELUDE = """
import resource, sys
import numpy, torch, PIL.Image
from safetensors import safe_open
from tosc_env.data import handed, cifar10, celeba
from tosc_env.io import checkpoints
from tosc_env.schemes import schemes
from tosc_env.errors import ToscError
torch.set_num_threads(1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {megabytes} * 2**20,) * 2)


def sentence(work):
    '''What a mistake is told as: one sentence of ours.'''
    try:
        work()
    except ToscError as error:
        text = str(error)
        assert "\\n" not in text and text.endswith(".") and len(text) < 600, text
        return type(error).__name__ + ": " + text
    return "read"


"""


def run_bounded(code: str, *arguments: object, megabytes: int = 256) -> list[str]:
    """The lines that ``code`` prints in an interpreter whose address space grows by so much after its imports."""
    program = _PRELUDE.format(megabytes=megabytes) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()
