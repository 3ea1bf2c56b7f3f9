"""From a joined table of scores and students to a typed analysis, and the words of its answer."""

from __future__ import annotations

from dametric.analysis.document import Analysis, analyse
from dametric.analysis.study import Study, read_study

__all__ = ["Analysis", "Study", "analyse", "read_study"]
