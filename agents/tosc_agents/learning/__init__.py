"""The training loop, its precision, augmentation, resumable state and progress."""
