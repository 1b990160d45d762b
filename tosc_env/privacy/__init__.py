"""What an attacker is given: the threat model, the view through it, and the encoder that it may ask."""
