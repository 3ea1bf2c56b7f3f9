"""Statistics of few augmentations: correlations with permutation p-values, pooling, comparison, power.

Everything takes plain sequences or pandas tables and returns plain numbers with what is known about them. Nothing
here needs a network or a GPU.
"""

from __future__ import annotations

from dametric.stats.baselines import fixed_order, other_unit, published_list
from dametric.stats.comparison import bootstrap_difference, swap_test, williams
from dametric.stats.correlation import correlate
from dametric.stats.disattenuation import disattenuated
from dametric.stats.families import family
from dametric.stats.family_permutation import by_families
from dametric.stats.intervals import bca
from dametric.stats.meta import MixedModel, RandomEffects, combine, mixed_model, random_effects
from dametric.stats.multiplicity import benjamini_hochberg, holm
from dametric.stats.noise import expected_tau, reliability, tied_tau
from dametric.stats.partial import partial, partial_tau
from dametric.stats.pooling import incremental, kendalls_w, naive, pooled
from dametric.stats.power import Power, detectable, power
from dametric.stats.published import load_published, published_frame
from dametric.stats.regression import Line, Ranges, leave_out, ols
from dametric.stats.result import Result
from dametric.stats.subpools import subpools
from dametric.stats.toplist import Regret, regret, regret_curve
from dametric.stats.york import YorkLine, york

__all__ = [
    "Line",
    "MixedModel",
    "Power",
    "RandomEffects",
    "Ranges",
    "Regret",
    "Result",
    "YorkLine",
    "bca",
    "benjamini_hochberg",
    "bootstrap_difference",
    "by_families",
    "combine",
    "correlate",
    "detectable",
    "disattenuated",
    "expected_tau",
    "family",
    "fixed_order",
    "holm",
    "incremental",
    "kendalls_w",
    "leave_out",
    "load_published",
    "mixed_model",
    "naive",
    "ols",
    "other_unit",
    "partial",
    "partial_tau",
    "pooled",
    "power",
    "published_frame",
    "published_list",
    "random_effects",
    "regret",
    "regret_curve",
    "reliability",
    "subpools",
    "swap_test",
    "tied_tau",
    "williams",
    "york",
]
