"""Transmitter-receiver pairs that stages and objectives are combined with; a file each, entered in pyproject.toml under
tosc_env.schemes."""
