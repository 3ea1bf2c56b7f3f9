"""dametric: which data augmentation to use for distilling from a teacher, with an honest error bar.

The public names are imported on first use, so that ``import dametric`` itself is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dametric.analysis.api import correlate
    from dametric.analysis.comparing import compare
    from dametric.augment.export import export
    from dametric.choosing.api import choose
    from dametric.data import ImageSet, check_data, load_data
    from dametric.errors import UsageError
    from dametric.models import load_checkpoint
    from dametric.pictures import show
    from dametric.records.joining import join
    from dametric.records.ledger import Ledger
    from dametric.records.runs import load_runs
    from dametric.reports import report
    from dametric.scoring import score
    from dametric.stats import load_published, power
    from dametric.sweeps.api import plan, sweep
    from dametric.training import distill, distill_all, train

__version__ = "0.2.0"
_HOME = {
    "ImageSet": "dametric.data",
    "Ledger": "dametric.records.ledger",
    "UsageError": "dametric.errors",
    "check_data": "dametric.data",
    "choose": "dametric.choosing.api",
    "compare": "dametric.analysis.comparing",
    "correlate": "dametric.analysis.api",
    "distill": "dametric.training",
    "distill_all": "dametric.training",
    "export": "dametric.augment.export",
    "join": "dametric.records.joining",
    "load_checkpoint": "dametric.models",
    "load_data": "dametric.data",
    "load_published": "dametric.stats",
    "load_runs": "dametric.records.runs",
    "plan": "dametric.sweeps.api",
    "power": "dametric.stats",
    "report": "dametric.reports",
    "score": "dametric.scoring",
    "show": "dametric.pictures",
    "sweep": "dametric.sweeps.api",
    "train": "dametric.training",
}
__all__ = [
    "ImageSet",
    "Ledger",
    "UsageError",
    "__version__",
    "check_data",
    "choose",
    "compare",
    "correlate",
    "distill",
    "distill_all",
    "export",
    "join",
    "load_checkpoint",
    "load_data",
    "load_published",
    "load_runs",
    "plan",
    "power",
    "report",
    "score",
    "show",
    "sweep",
    "train",
]


def __getattr__(name: str) -> object:
    if name == "stats":  # a whole room, so that dametric.stats.correlate needs no import of its own
        return import_module("dametric.stats")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'dametric' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
