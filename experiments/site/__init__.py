"""The site of documentation: pages made of the code (``python -m experiments.site``), and what mkdocs asks for help."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
