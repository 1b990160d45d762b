"""Transmitter-receiver pairs; each module is one scheme, entered in pyproject.toml under tosc_env.schemes."""
