"""Training of schemes and eavesdroppers, and their evaluation."""
