"""The threat model, the view of the system that it allows, and encoder oracles."""
