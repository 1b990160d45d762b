"""Fitting schemes and eavesdroppers, and measuring one against the other."""
