"""Figure 3: ``experiment`` (which jobs), ``section`` and ``tables`` (what becomes of their measurements)."""
