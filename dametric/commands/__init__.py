"""What the commands of the command line do; heavy imports are welcome here, not in `dametric.cli`."""
