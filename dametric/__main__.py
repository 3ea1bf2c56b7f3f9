"""`python -m dametric`: the command line."""

from __future__ import annotations

from dametric.cli import main

main()
