"""How well scores predict students: `dametric.correlate`."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dametric.analysis.document import Analysis, analyse
from dametric.analysis.study import Source, read_study
from dametric.records.ledger import Ledger
from dametric.records.scores import Scores

Sources = Source | Sequence[Source]


def correlate(
    scores: Sources = (),
    runs: Sources = (),
    *,
    published: bool = False,
    metrics: Sequence[str] | str = (),
    only: Sequence[str] | str = (),
    drop: bool = False,
    better: Sequence[str] | str = (),
    alpha: float = 0.05,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Analysis:
    """Say how well scores predict students: coefficients, permutation p-values, and the answer in words.

    Parameters
    ----------
    scores : path, Scores or pandas.DataFrame, or several
        Score files, or one table of scores and students (a CSV or JSON file, or a DataFrame: see
        :func:`dametric.analysis.foreign_table.read_table`, or joined as by
        :func:`dametric.records.joining.study`).
    runs : path, Ledger or pandas.DataFrame, or several
        Folders of runs, or what was read from one by :func:`dametric.load_runs`. They may stand among ``scores`` too.
    published : bool
        The points of the paper instead.
    metrics : str or sequence of str
        Fixed in advance; what orders the scores by default. The first one is what the answer is about.
    only : str or sequence of str
        Only such runs, as in "temperature=4".
    drop : bool
        Leave out rows without a score or a loss.
    better : str or sequence of str
        Directions of a table's metrics, as in "my_score=lower".
    alpha : float
        Level of the tests, a fraction.
    confidence : float
        Of all intervals, a fraction.
    resamples, seed : int
        Random pairings where not all can be tried, and their seed.

    Returns
    -------
    Analysis
        With ``answer`` and ``verdict`` (sentences), ``table``, every number, and ``to_dict()``.

    Raises
    ------
    UsageError
        If something cannot be read or joined, and for names and numbers that are not known.

    Examples
    --------
    >>> import dametric
    >>> analysis = dametric.correlate(published=True, resamples=99)
    >>> analysis.verdict[1].split(" (")[0]
    "t_stddev predicts the students' test loss"
    """
    sources = [*several(scores), *several(runs)]
    study = read_study(sources, published=published, only=_words(only), drop=drop, better=_words(better))
    first = _words(metrics) or [str(study.frame["metric"].iloc[0]) if "metric" in study.frame else "score"]
    return analyse(study, metrics=first, alpha=alpha, confidence=confidence, resamples=resamples, seed=seed)


def several(sources: Sources) -> list[Source]:
    """One source or several as a list."""
    single = isinstance(sources, (str, Scores, Ledger, pd.DataFrame)) or hasattr(sources, "__fspath__")
    return [sources] if single else list(sources)  # type: ignore[list-item,arg-type]


def _words(given: Sequence[str] | str) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())
