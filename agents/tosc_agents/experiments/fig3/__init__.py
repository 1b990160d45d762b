"""Figure 3: ``experiment`` (which cells), ``figures``, ``tables`` and ``planes`` (what becomes of their rows)."""
