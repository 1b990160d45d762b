"""Table 1: ``experiment`` (its one cell), ``costs`` (how time is measured), ``findings`` (rows, table, sentences)."""
