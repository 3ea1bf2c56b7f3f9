"""Is `dametric choose` right as often as it says? Simulated truths, of its own model and of others.

Run it with ``python -m experiments.choose_calibration``; it goes on where its tables stop. In every case the frequency
of "regret below epsilon" is compared with the stated probability, at every look and where the choice stopped at 95 %,
and what the second half of the budget bought with what was expected of it.

A probability can only be right on average over units such as the prior expects. So in every case spread, noise and how
far short runs agree are drawn from the distributions that are shipped, and what is wrong is the structure alone. In
"prior" nothing is wrong, and any difference is one of arithmetic; in "of one size" the units are of one kind that the
prior thinks possible, but not certain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from scipy.special import expit, logit

from dametric.base.files import write_atomic
from dametric.base.progress import progress
from dametric.choosing.arms import Arm, Floats, arms_of, likeness
from dametric.choosing.decision import expected_regret_after, next_step, p_within, verdict
from dametric.choosing.parameters import SHIPPED, Parameters, read_parameters
from dametric.choosing.posterior import Observation, posterior, prior_of

RESULTS = Path(__file__).parent / "results" / "choose"
FRACTIONS, COSTS = (0.05, 0.2, 1.0), (1.0, 4.0, 20.0)
BUDGET, EPSILON, ENOUGH = 240.0, 0.01, 0.95
_BLOCK = 10  # repeats that are saved together
SPECS = [
    *("cutout:length=4", "cutout:length=8", "cutout:length=16", "mixup:alpha=0.2", "mixup:alpha=1"),
    *("cutmix:alpha=0.2", "cutmix:alpha=1", "randaugment:n=1,m=5", "randaugment:n=2,m=9", "randaugment:n=3,m=14"),
    *("autoaugment", "crop+flip"),
]
Scale = Callable[[Any], Any]


@dataclass(frozen=True)
class Truth:
    """What is so: losses beside their level by fraction and arm, noise of each arm, of starts, and the score shown."""

    effects: Floats
    noise: Floats
    starts: float
    score: Floats | None = None


@dataclass(frozen=True)
class Unit:
    """What is the same for all augmentations of a unit; see :class:`dametric.choosing.parameters.Parameters`."""

    spread: float
    noise: float
    half: float
    growth: float


Case = Callable[[np.random.Generator, tuple[Arm, ...]], Truth]


def _on_the_grid(rng: np.random.Generator) -> Unit:
    """From the prior that is shipped, as it is."""
    return Unit(*(_drawn(rng, table) for table in _tables()))


def _unit(rng: np.random.Generator) -> Unit:
    """From the prior that is shipped, with all values between those of its tables."""
    spread, noise, half, growth = _tables()
    return Unit(
        _between(rng, spread, np.log, np.exp),
        _between(rng, noise, np.log, np.exp),
        _between(rng, half, logit, expit),
        _between(rng, growth, lambda value: value, lambda value: value),
    )


def _tables() -> tuple[dict[float, float], ...]:
    shipped = read_parameters()
    return shipped.spread, shipped.noise, shipped.half, shipped.growth


def _drawn(rng: np.random.Generator, table: dict[float, float]) -> float:
    weights = np.array(list(table.values()))
    return float(rng.choice(list(table), p=weights / weights.sum()))


def _between(rng: np.random.Generator, table: dict[float, float], to: Scale, back: Scale) -> float:
    """Uniform on some scale around a value of a table, as far as half of the way to its neighbours."""
    place, edges = sorted(table).index(_drawn(rng, table)), cells(table, to)
    return float(back(rng.uniform(edges[place], edges[place + 1])))


def cells(table: dict[float, float], to: Scale) -> Floats:
    """Ends of what each value of a table stands for, ascending, on some scale."""
    values = to(np.array(sorted(table)))
    middles = (values[1:] + values[:-1]) / 2
    edges: Floats = np.concatenate([[2 * values[0] - middles[0]], middles, [2 * values[-1] - middles[-1]]])
    return edges


def _short(effects: Floats, rng: np.random.Generator, arms: tuple[Arm, ...], unit: Unit) -> Floats:
    """Effects at every fraction: the shorter, the more of their own."""
    levels, root = [effects], np.linalg.cholesky(likeness(arms, 0.6, 1.0))
    share = np.array(FRACTIONS)
    agreement = 1 / (1 + unit.half / (1 - unit.half) * (1 / share - 1))
    for place in (1, 0):
        ratio = agreement[place] / agreement[place + 1]
        levels.insert(0, ratio * levels[0] + np.sqrt(1 - ratio**2) * unit.spread * root @ rng.normal(size=len(arms)))
    result: Floats = np.array(levels) * share[:, None] ** -unit.growth
    return result


def _of_families(rng: np.random.Generator, arms: tuple[Arm, ...], unit: Unit) -> Truth:
    effects = unit.spread * np.linalg.cholesky(likeness(arms, 0.6, 1.0)) @ rng.normal(size=len(arms))
    return Truth(_short(effects, rng, arms, unit), np.full(len(arms), unit.noise), unit.noise)


def _prior(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """The model itself."""
    return _of_families(rng, arms, _on_the_grid(rng))


def _families(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    return _of_families(rng, arms, _unit(rng))


def _of_one_size(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """Units with effects beyond epsilon, whose short runs agree in one way."""
    spread, noise = np.exp(rng.uniform(np.log([0.008, 0.003]), np.log([0.1, 0.03])))
    return _of_families(rng, arms, Unit(float(spread), float(noise), 0.165, 0.0))


def _independent(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """No families, and now and then one that stands out."""
    unit = _unit(rng)
    effects = 0.7 * unit.spread * rng.standard_t(4, size=len(arms))
    return Truth(_short(effects, rng, arms, unit), np.full(len(arms), unit.noise), unit.noise)


def _peaks(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """Every operation has a best strength inside its range, and falls off like a parabola."""
    effects, unit = np.zeros(len(arms)), _unit(rng)
    for operation in sorted({arm.operation for arm in arms if arm.operation}):
        height, place, width = unit.spread * rng.uniform(0, 2), rng.uniform(0.5, 2.5), rng.uniform(0.7, 1.5)
        for number, arm in enumerate(arms):
            if arm.operation == operation:
                effects[number] = height * min(((arm.position - place) / width) ** 2 - 1, 1.5)
    return Truth(_short(effects, rng, arms, unit), np.full(len(arms), unit.noise), unit.noise)


def _undervalued(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """Strong augmentations look bad in short runs."""
    truth = _families(rng, arms)
    places = np.array([arm.position for arm in arms])
    slope = 1.5 * truth.effects[-1].std()
    return replace(truth, effects=truth.effects + np.outer([slope, slope / 2, 0.0], places - places.mean()))


def _larger(rng: np.random.Generator, arms: tuple[Arm, ...]) -> Truth:
    """Short runs differ by five times as much as whole ones, as where the loss falls to a tenth."""
    return _of_families(rng, arms, replace(_unit(rng), growth=0.54))


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
    "prior": _prior,
    "of one size": _of_one_size,
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


def one_choice(
    case: str, number: int, parameters: Parameters, with_score: bool = True, runs: list[Observation] | None = None
) -> Iterator[dict[str, float]]:
    """Every look of a simulated choice: what it says, and what is so; runs are added to the list."""
    arms = arms_of(SPECS)
    truth = CASES[case](np.random.default_rng([number, sum(case.encode())]), arms)
    rng = np.random.default_rng([number, 1])
    noise = rng.normal(size=(3, 8, len(arms))) * truth.noise  # of each run, whenever it is made
    starts = rng.normal(size=(3, 8)) * truth.starts
    score = truth.score.tolist() if with_score and truth.score is not None else None
    prior = prior_of(arms, FRACTIONS, parameters, score)
    runs = [] if runs is None else runs
    spent, whole = 0.0, truth.effects[-1]
    expected = math.nan
    while True:
        belief = posterior(prior, runs)
        sure, taken = p_within(belief, EPSILON), {(run.arm, run.fraction, run.seed) for run in runs}
        stop = sure >= ENOUGH
        step = None if stop else next_step(belief, taken, COSTS, BUDGET - spent)
        look = {"runs": len(runs), "spent": spent, "stated": sure, "regret": float(whole[belief.best] - whole.min())}
        look |= {"stopped": stop, "last": step is None, "effects": float(whole.std())}
        if math.isnan(expected) and spent >= BUDGET / 2 and step is not None:
            expected = verdict(belief, EPSILON).regret
            forecast = expected_regret_after(belief, taken, COSTS, BUDGET - spent, expected)
            look |= {"expected": expected, "forecast": forecast}
        yield look
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


_SIZES = {"effects below 0.01": (0.0, 0.01), "0.01 to 0.03": (0.01, 0.03), "above 0.03": (0.03, math.inf)}


def summary(looks: pd.DataFrame) -> pd.DataFrame:
    """By case, for all, and for units by the size of their effects, which no choice knows before its runs.

    How often it was so by bin of what was stated, with a standard error over repeats.
    """
    looks = looks.assign(within=looks.regret < EPSILON, bin=np.minimum((looks.stated * 5).astype(int), 4))
    parts = [(str(case), part) for case, part in looks.groupby("case", sort=False)]
    parts += [("all but prior", looks[looks.case != "prior"])]
    parts += [(name, looks[(looks.effects >= low) & (looks.effects < high)]) for name, (low, high) in _SIZES.items()]
    rows = []
    for case, part in parts:
        for place in sorted(set(part.bin)):
            rows.append((case, f"{place / 5:.1f} to {place / 5 + 0.2:.1f}", *_compared(part[part.bin == place])))
        if part.stopped.any():
            rows.append((case, "stopped", *_compared(part[part.stopped.astype(bool)])))
    return pd.DataFrame(rows, columns=["case", "stated P", "looks", "mean stated", "frequency", "error"])


def bought(looks: pd.DataFrame) -> pd.DataFrame:
    """Regret at half of the budget and at the end: as it was expected, and as it was; means over repeats, nats."""
    halfway = looks[looks.forecast.notna()].set_index(["case", "repeat"])
    both = halfway[["expected", "forecast", "regret"]].join(
        looks[looks["last"]].set_index(["case", "repeat"]).regret.rename("at the end")
    )
    both = both.rename(columns={"expected": "expected halfway", "regret": "halfway"})
    both["forecast less truth"] = both.forecast - both["at the end"]
    groups = [
        *both.groupby(level="case", sort=False),
        ("all but prior", both[both.index.get_level_values("case") != "prior"]),
    ]
    rows = [
        {"case": case, "repeats": len(part), **part.mean(), "error": part["forecast less truth"].sem()}
        for case, part in groups
    ]
    return pd.DataFrame(rows)


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
    parameters: Annotated[
        Path, typer.Option(help="What choices assume; units are always as the shipped ones.")
    ] = SHIPPED,
) -> None:
    """Simulate, and write calibration.csv, regret.csv and forecast.csv; looks/, of which they are made, stays here."""
    names = case or list(CASES)
    with progress("simulated choices", repeats * len(names)) as advance:
        for start in range(0, repeats, _BLOCK):
            for name in names:
                _block(output, name, start, read_parameters(parameters))
                advance(_BLOCK)
    report(output)


def report(output: Path) -> None:
    """Write and print the tables of all blocks that are there."""
    looks = pd.concat([pd.read_csv(path) for path in sorted((output / "looks").glob("*.csv.gz"))], ignore_index=True)
    looks = looks.assign(case=pd.Categorical(looks.case, list(CASES))).sort_values(["case", "repeat"], kind="stable")
    looks = looks.assign(case=looks.case.astype(str))
    own = looks[looks.variant == "choose"]
    ends = looks[looks["last"]].groupby(["case", "variant"], sort=False)
    costs = ends.regret.agg(["mean", "sem", "size"]).assign(spent=ends.spent.mean()).reset_index()
    tables = {"calibration": summary(own).round(4), "regret": costs.round(5), "forecast": bought(own).round(5)}
    for name, table in tables.items():
        write_atomic(output / f"{name}.csv", table.to_csv(index=False))
        print(table.to_string(index=False))


def _block(output: Path, case: str, start: int, assumed: Parameters) -> None:
    """Simulate some choices, if that was not done."""
    path = output / "looks" / f"{case.replace(' ', '-')}-{start:05d}.csv.gz"
    if path.exists():
        return
    looks = pd.DataFrame([row for number in range(start, start + _BLOCK) for row in _repeat(case, number, assumed)])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name("part.csv.gz")
    looks.to_csv(part, index=False)
    part.replace(path)


def _repeat(case: str, number: int, assumed: Parameters) -> Iterator[dict[str, object]]:
    scored = "score" in case
    variants = {"choose": (replace(assumed, slope=0.4, slope_spread=0.4) if scored else assumed, True)}
    if scored:
        variants["no score"] = (assumed, False)
    for variant, (parameters, with_score) in variants.items():
        for look in one_choice(case, number, parameters, with_score):
            yield {"case": case, "repeat": number, "variant": variant, **look}
    for place, fraction in enumerate(FRACTIONS):
        row = compressed(case, number, place)
        yield {"case": case, "repeat": number, "variant": f"all at {fraction:g}", **row, "last": True, "stopped": False}


if __name__ == "__main__":
    typer.run(main)
