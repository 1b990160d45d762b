"""Reference policies for tosc-env: schemes, eavesdroppers, their training, and a zoo of trained weights."""
