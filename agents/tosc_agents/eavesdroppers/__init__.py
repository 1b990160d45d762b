"""Attackers; each module is one eavesdropper, entered in pyproject.toml under tosc_env.eavesdroppers."""
