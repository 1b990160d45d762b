"""One thread, no real data, no network: what a test sees is the same on every machine."""

from __future__ import annotations

import os

import pytest
import torch

torch.set_num_threads(1)
os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(autouse=True)
def _no_real_data(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty data root: a test that wants files writes tiny ones in the official layout."""
    monkeypatch.setenv("TOSC_DATA_DIR", str(tmp_path_factory.getbasetemp() / "no-data"))
