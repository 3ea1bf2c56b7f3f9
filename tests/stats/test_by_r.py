"""The same numbers by R: tests/oracles/r/statistics.R made statistics.json beside it. Where R is, it is run again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dametric import stats

HERE = Path(__file__).resolve().parents[1] / "oracles" / "r"
EXACT = 1e-12  # what is left of fifteen digits
X = [0.0, 0.9, 1.8, 2.6, 3.3, 4.4, 5.2, 6.1, 6.5, 7.4]
Y = [5.9, 5.4, 4.4, 4.6, 3.5, 3.7, 2.8, 2.8, 2.4, 1.5]
WEIGHT_X = np.array([1000, 1000, 500, 800, 200, 80, 60, 20, 1.8, 1])
WEIGHT_Y = np.array([1, 1.8, 4, 8, 20, 20, 70, 70, 100, 500])
TIED, OTHER = [1.0, 2, 2, 3, 4, 4, 5], [2.0, 1, 3, 3, 5, 4, 7]
ILL = np.array([4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27])
WELL = np.array([119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886])
ILL_2 = np.array([11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29])
WELL_2 = np.array([128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825])


@pytest.fixture(scope="module")
def by_r() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "statistics.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def unit() -> pd.DataFrame:
    table = stats.load_published()
    return table[table["unit"] == "cifar100/wrn_40_2/wrn_16_2"]


def ours(unit: pd.DataFrame) -> dict[str, Any]:
    """Every number of the file by dametric."""
    score, loss = unit["t_stddev"], unit["student_test_loss"]
    found: dict[str, Any] = {}
    pearson, spearman = (stats.correlate(score, loss, name) for name in ("pearson", "spearman"))
    found |= {"pearson": pearson.statistic, "pearson_fisher": [pearson.low, pearson.high]}
    found |= {"spearman": spearman.statistic, "spearman_fisher": [spearman.low, spearman.high]}
    kendall = stats.correlate(score, loss, alternative="greater")
    found |= {"kendall": kendall.statistic, "kendall_greater": kendall.pvalue}
    for name in ("pearson", "spearman", "kendall"):
        each = [stats.correlate(TIED, OTHER, name, side) for side in ("greater", "less", "two-sided")]
        found[f"exact_{name}"] = [one.pvalue for one in each]
        if name != "pearson":
            found[f"{name}_ties"] = each[0].statistic
    line = stats.ols(score, loss)
    found |= {"ols": [line.intercept.statistic, line.slope.statistic], "hc3_se": [line.intercept_se, line.slope_se]}
    found |= {"cook": line.cook, "r_squared": line.r_squared}
    york = stats.york(X, Y, WEIGHT_X**-0.5, WEIGHT_Y**-0.5)
    found |= {"york": [york.intercept.statistic, york.slope.statistic], "york_se": [york.intercept_se, york.slope_se]}
    found["york_chi2"] = york.chi2
    for name, case in (("williams", (0.4, 0.5, 0.1, 103)), ("williams_nine", (0.95, 0.85, 0.9, 9))):
        test = stats.williams(*case)
        found[name] = [test.statistic, test.pvalue]
    chances = [0.001, 0.01, 0.02, 0.03, 0.04, 0.5]
    found |= {"holm": stats.holm(chances), "bh": stats.benjamini_hochberg(chances)}
    found |= together()
    found["partial_tau"] = stats.partial_tau(score, loss, [2, 1, 3, 5, 4, 7, 6, 9, 8], resamples=9).statistic
    return found


def together() -> dict[str, Any]:
    effect = np.log(ILL / (ILL + WELL) / (ILL_2 / (ILL_2 + WELL_2)))
    variance = 1 / ILL - 1 / (ILL + WELL) + 1 / ILL_2 - 1 / (ILL_2 + WELL_2)
    one = stats.combine(effect, variance, estimator="dl", interval="normal")
    se = (one.mean.high - one.mean.low) / (2 * 1.959963984540054)
    wide = stats.load_published().pivot_table(index="unit", columns="aug", values="student_test_loss")
    return {
        "dersimonian_laird": [one.mean.statistic, se, one.tau2, one.q, one.i2],
        "paule_mandel": stats.combine(effect, variance).tau2,
        "concordance_losses": stats.kendalls_w(wide.to_numpy(), resamples=9).statistic,
    }


def test_every_number_is_that_of_r(by_r: dict[str, Any], unit: pd.DataFrame) -> None:
    found = ours(unit)
    assert set(found) == set(by_r) - {"made_by"}
    for name, value in found.items():
        near = {"paule_mandel": 1e-5, "york": 1e-9, "york_se": 1e-9}.get(name, EXACT)  # what is iterated
        np.testing.assert_allclose(value, by_r[name], rtol=near, atol=1e-14, err_msg=name)


def test_the_script_makes_the_file(by_r: dict[str, Any]) -> None:
    program = shutil.which("Rscript")
    if program is None:
        pytest.skip("no R on this machine")
    done = subprocess.run(
        [program, "--vanilla", str(HERE / "statistics.R")], cwd=HERE.parents[2], capture_output=True, check=True
    )
    again = json.loads(done.stdout)
    assert set(again) == set(by_r)
    for name in set(by_r) - {"made_by"}:
        np.testing.assert_allclose(again[name], by_r[name], rtol=1e-10, atol=1e-14, err_msg=name)
