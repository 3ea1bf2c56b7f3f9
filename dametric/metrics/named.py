"""Metrics as a user names them: built in, from a file of the user's own, or as an object."""

from __future__ import annotations

from dametric.base.user_code import is_user_code, load_value
from dametric.errors import UsageError, unknown
from dametric.metrics import METRICS
from dametric.metrics.base import Metric


def metric_of(spec: str | Metric) -> Metric:
    """The metric of a name.

    Parameters
    ----------
    spec : str or Metric
        A name of `METRICS`, ``./file.py:NAME`` or ``pkg.mod:NAME`` of a :class:`Metric`, or the metric itself.

    Raises
    ------
    UsageError
        For an unknown name, or what is no metric.

    Examples
    --------
    >>> metric_of("t_stddev").direction
    'lower'
    """
    if isinstance(spec, Metric):
        return spec
    if not isinstance(spec, str):
        raise UsageError(f"a metric is a name, ./file.py:NAME or a Metric, not {spec!r}")
    if not is_user_code(spec):
        if spec not in METRICS:
            raise unknown("metric", spec, METRICS)
        return METRICS[spec]
    metric = load_value(spec, "metric")
    if not isinstance(metric, Metric):
        raise UsageError(f"{spec} is a {type(metric).__name__}, not a dametric.metrics.Metric")
    if metric.name in METRICS:
        raise UsageError(f"{spec} is called {metric.name}, as a built-in metric is: give it a name of its own")
    return metric
