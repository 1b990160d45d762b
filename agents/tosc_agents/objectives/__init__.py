"""Objectives of training; a file each, entered in pyproject.toml under tosc_env.objectives."""
