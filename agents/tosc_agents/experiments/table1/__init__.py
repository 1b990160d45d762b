"""Table 1: ``experiment`` (its one job), ``costs`` (how time is measured), ``section`` (what the report says)."""
