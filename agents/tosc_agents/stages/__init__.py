"""Stages between a backbone and the channel; a file each, entered in pyproject.toml under tosc_env.stages."""
