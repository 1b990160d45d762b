"""What schemes are trained for; a file each, entered in pyproject.toml under tosc_env.objectives."""
