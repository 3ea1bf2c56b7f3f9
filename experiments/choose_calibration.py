"""Is `dametric choose` right as often as it says? Simulated truths that its model does not know.

Run it with ``python -m experiments.choose_calibration``; it goes on where its table stops. In every case the frequency
of "regret below epsilon" is compared with the stated probability, at every look and where the choice stopped at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from dametric.base.files import write_atomic
from dametric.base.progress import progress
from dametric.choosing.arms import Arm, Floats, arms_of, likeness
from dametric.choosing.decision import next_step, p_within
from dametric.choosing.parameters import Parameters, read_parameters
from dametric.choosing.posterior import Observation, posterior, prior_of

RESULTS = Path(__file__).parent / "results" / "choose"
FRACTIONS, COSTS = (0.05, 0.2, 1.0), (1.0, 4.0, 20.0)
BUDGET, EPSILON, ENOUGH = 240.0, 0.01, 0.95
SPECS = [
    *("cutout:length=4", "cutout:length=8", "cutout:length=16", "mixup:alpha=0.2", "mixup:alpha=1"),
    *("cutmix:alpha=0.2", "cutmix:alpha=1", "randaugment:n=1,m=5", "randaugment:n=2,m=9", "randaugment:n=3,m=14"),
    *("autoaugment", "crop+flip"),
]
_SCORED = replace(read_parameters(), slope=0.4, slope_spread=0.4)


@dataclass(frozen=True)
class Truth:
    """What is so: losses beside their level by fraction and arm, noise of each arm, and the score that is shown."""

    effects: Floats
    noise: Floats
    score: Floats | None = None


Case = Callable[[np.random.Generator, tuple[Arm, ...]], Truth]
_AGREE = np.array([0.21, 0.57, 1.0])


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _short(effects: Floats, rng: np.random.Generator, arms: tuple[Arm, ...], spread: float) -> Floats:
    """Effects at every fraction: the shorter, the more of their own."""
    levels, root = [effects], np.linalg.cholesky(likeness(arms, 0.6, 1.0))
    for place in (1, 0):
        ratio = _AGREE[place] / _AGREE[place + 1]
        levels.insert(0, ratio * levels[0] + np.sqrt(1 - ratio**2) * spread * root @ rng.normal(size=len(arms)))
    return np.array(levels)


def _families(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    spread, noise = _between(rng, 0.008, 0.1), _between(rng, 0.003, 0.03)
    effects = spread * np.linalg.cholesky(likeness(arms, 0.6, 1.0)) @ rng.normal(size=len(arms))
    return Truth(_short(effects, rng, arms, spread), np.full(len(arms), noise))


def _independent(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """No families, and now and then one that stands out."""
    spread, noise = _between(rng, 0.008, 0.1), _between(rng, 0.003, 0.03)
    effects = 0.7 * spread * rng.standard_t(4, size=len(arms))
    return Truth(_short(effects, rng, arms, spread), np.full(len(arms), noise))


def _peaks(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """Every operation has a best strength inside its range, and falls off like a parabola."""
    effects, spread, noise = np.zeros(len(arms)), _between(rng, 0.008, 0.1), _between(rng, 0.003, 0.03)
    for operation in sorted({arm.operation for arm in arms if arm.operation}):
        height, place, width = spread * rng.uniform(0, 2), rng.uniform(0.5, 2.5), rng.uniform(0.7, 1.5)
        for number, arm in enumerate(arms):
            if arm.operation == operation:
                effects[number] = height * min(((arm.position - place) / width) ** 2 - 1, 1.5)
    return Truth(_short(effects, rng, arms, spread), np.full(len(arms), noise))


def _undervalued(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """Strong augmentations look bad in short runs."""
    truth = _families(rng, arms)
    places = np.array([arm.position for arm in arms])
    slope = 1.5 * truth.effects[-1].std()
    return replace(truth, effects=truth.effects + np.outer([slope, slope / 2, 0.0], places - places.mean()))


def _larger(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """Short runs differ by much more than whole ones, as where the loss falls to a tenth."""
    truth = _families(rng, arms)
    return replace(truth, effects=truth.effects * np.array([[5.0], [2.5], [1.0]]))


def _unequal(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    truth = _families(rng, arms)
    return replace(truth, noise=truth.noise * np.exp(rng.uniform(-1, 1, len(arms))))


def _alike(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """No augmentation is worth anything."""
    truth = _families(rng, arms)
    shrink = 0.006 / truth.effects[-1].std()
    return replace(truth, effects=truth.effects * shrink)


def _scored(relation: float) -> Case:
    def case(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
        truth = _families(rng, arms)
        standard = truth.effects[-1] / truth.effects[-1].std()
        return replace(truth, score=relation * standard + np.sqrt(1 - relation**2) * rng.normal(size=len(arms)))

    return case


CASES: dict[str, Case] = {
    "families": _families,
    "independent": _independent,
    "peaks": _peaks,
    "undervalued": _undervalued,
    "larger in short runs": _larger,
    "unequal noise": _unequal,
    "alike": _alike,
    "useful score": _scored(0.6),
    "useless score": _scored(0.0),
    "misleading score": _scored(-0.6),
}


def one_choice(case: str, number: int, parameters: Parameters, with_score: bool = True) -> Iterator[dict[str, float]]:
    """Every look of a simulated choice: what it says, and what is so."""
    arms = arms_of(SPECS)
    truth = CASES[case](np.random.default_rng([number, sum(case.encode())]), arms)
    rng = np.random.default_rng([number, 1])
    noise = rng.normal(size=(3, 8, len(arms))) * truth.noise  # of each run, whenever it is made
    starts = rng.normal(size=(3, 8)) * 0.01
    score = truth.score.tolist() if with_score and truth.score is not None else None
    prior = prior_of(arms, FRACTIONS, parameters, score)
    runs: list[Observation] = []
    spent, whole = 0.0, truth.effects[-1]
    while True:
        belief = posterior(prior, runs)
        sure = p_within(belief, EPSILON)
        regret = float(whole[belief.best] - whole.min())
        stop = sure >= ENOUGH
        step = None if stop else next_step(belief, {(r.arm, r.fraction, r.seed) for r in runs}, COSTS, BUDGET - spent)
        last = step is None
        yield {"runs": len(runs), "spent": spent, "stated": sure, "regret": regret, "stopped": stop, "last": last}
        if step is None:
            return
        arm, fraction, seed = step.runs[0]
        loss = 2 + truth.effects[fraction, arm] + starts[fraction, seed] + noise[fraction, seed, arm]
        runs.append(Observation(arm, fraction, seed, float(loss)))
        spent += COSTS[fraction]


def compressed(case: str, number: int, fraction: int) -> dict[str, float]:
    """The strongest simple baseline: all arms at one fraction of the schedule, as many seeds as the budget bears."""
    arms = arms_of(SPECS)
    truth = CASES[case](np.random.default_rng([number, sum(case.encode())]), arms)
    rng = np.random.default_rng([number, 1])
    noise = rng.normal(size=(3, 8, len(arms))) * truth.noise
    seeds = int(min(8, BUDGET // (len(arms) * COSTS[fraction])))
    whole = truth.effects[-1]
    if not seeds:
        return {"spent": 0.0, "regret": float("nan")}
    best = (truth.effects[fraction] + noise[fraction, :seeds].mean(0)).argmin()
    return {"spent": seeds * len(arms) * COSTS[fraction], "regret": float(whole[best] - whole.min())}


def summary(looks: pd.DataFrame) -> pd.DataFrame:
    """By case, and for all, and by bin of what was stated: how often it was so, with a standard error over repeats."""
    looks = looks.assign(within=looks.regret < EPSILON, bin=np.minimum((looks.stated * 5).astype(int), 4))
    parts = [(str(case), part) for case, part in looks.groupby("case", sort=False)] + [("all", looks)]
    rows = []
    for case, part in parts:
        for place in sorted(set(part.bin)):
            rows.append((case, f"{place / 5:.1f} to {place / 5 + 0.2:.1f}", *_compared(part[part.bin == place])))
        if part.stopped.any():
            rows.append((case, "stopped", *_compared(part[part.stopped.astype(bool)])))
    return pd.DataFrame(rows, columns=["case", "stated P", "looks", "mean stated", "frequency", "error"])


def _compared(part: pd.DataFrame) -> tuple[int, float, float, float]:
    """Looks, mean stated probability, frequency, and the error of their difference: looks of a repeat are alike."""
    each = part.groupby(["case", "repeat"])[["stated", "within"]].sum()
    counts = part.groupby(["case", "repeat"]).size()
    gap = (each.within - each.stated).sum() / len(part)
    error = math.sqrt(float((((each.within - each.stated) - gap * counts) ** 2).sum())) / len(part)
    return len(part), float(part.stated.mean()), float(part.within.mean()), error


def main(
    repeats: Annotated[int, typer.Option(help="Simulated choices of a case.")] = 1000,
    case: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the tables.")] = RESULTS,
) -> None:
    """Simulate, and write calibration.csv and regret.csv; looks.csv.gz, which they are made of, is not kept in git."""
    path = output / "looks.csv.gz"
    looks = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["case", "repeat"])
    names = case or list(CASES)
    with progress("simulated choices", repeats * len(names)) as advance:
        for start in range(0, repeats, 10):
            for name in names:
                have = set(looks.loc[looks.case == name, "repeat"])
                fresh = [number for number in range(start, min(start + 10, repeats)) if number not in have]
                rows = [row for number in fresh for row in _repeat(name, number)]
                advance(min(10, repeats - start))
                looks = pd.concat([looks, pd.DataFrame(rows)], ignore_index=True) if rows else looks
            output.mkdir(parents=True, exist_ok=True)
            looks.to_csv(output / "part.csv.gz", index=False)
            (output / "part.csv.gz").replace(path)
    own = looks[looks.variant == "choose"]
    write_atomic(output / "calibration.csv", summary(own).round(4).to_csv(index=False))
    ends = looks[looks["last"]].groupby(["case", "variant"], sort=False)
    table = ends.regret.agg(["mean", "sem", "size"]).assign(spent=ends.spent.mean()).reset_index()
    write_atomic(output / "regret.csv", table.round(5).to_csv(index=False))
    print(summary(own).round(3).to_string(index=False))
    print(table.round(4).to_string(index=False))


def _repeat(case: str, number: int) -> Iterator[dict[str, object]]:
    scored = "score" in case
    variants = {"choose": (_SCORED if scored else read_parameters(), True)}
    if scored:
        variants["no score"] = (read_parameters(), False)
    for variant, (parameters, with_score) in variants.items():
        for look in one_choice(case, number, parameters, with_score):
            yield {"case": case, "repeat": number, "variant": variant, **look}
    for place, fraction in enumerate(FRACTIONS):
        row = compressed(case, number, place)
        yield {"case": case, "repeat": number, "variant": f"all at {fraction:g}", **row, "last": True, "stopped": False}


if __name__ == "__main__":
    typer.run(main)
