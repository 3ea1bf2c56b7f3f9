"""What every room stands on: files, locks, progress, limits, names, the user's own code. No torch, no pandas."""
