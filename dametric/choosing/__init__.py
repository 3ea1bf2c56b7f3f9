"""Which augmentation to use: scores first, then short students until the answer is sure enough."""
