"""How anything here is trained: the loop, its precision, augmentation, resumable state and progress."""
