"""The page of the study: what was asked, what there is, what it shows. Every number is computed here and now."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiments.study.beyond_list import ALPHA, Answer, floor, named_tests, shown_controls
from experiments.study.entries import entries
from experiments.study.ladder import RANDAUGMENT, Ladder, ladder
from experiments.study.results import Study
from experiments.study.settings import UNITS
from experiments.study.short_runs import costs, fidelity, seed_variance
from experiments.study.stddev import destroyed, drawing, pairs_of_ladder
from experiments.study.strengths import of_study

KEPT = 0.25  # share of the information below which `dametric score` calls images destroyed
Row = Mapping[str, str]
Show = Callable[[Any], str]  # of a row of a table


@dataclass(frozen=True)
class Page:
    """All parts of the page.

    Attributes
    ----------
    study : Study
    figures : tuple of str
        Names of the figures that were drawn.
    """

    study: Study
    figures: tuple[str, ...] = field(default=())

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table, by the name of its file."""
        best, worth = of_study(self.study)
        answers = pd.DataFrame([vars(each) for each in (*self.named, *self.shown)])
        return {
            "runs": self.study.students,
            "teacher_runs": self.study.teacher_runs,
            "teachers": self.study.teachers,
            "ladder": self.ladder.table,
            "beyond_list": answers,
            "warm_scores": self.study.warm_scores(),
            "best_strength": best,
            "practical_worth": worth,
            "fidelity": fidelity(self.study),
            "seed_variance": seed_variance(self.study),
            "costs": costs(self.study),
            "drawing": drawing(self.study),
            "destroyed": destroyed(self.study),
            "pairs_of_ladder": pairs_of_ladder(self.study),
        }

    @cached_property
    def ladder(self) -> Ladder:
        """The ladder."""
        return ladder(self.study)

    @cached_property
    def named(self) -> list[Answer]:
        """The three tests of the claim."""
        return named_tests(self.study)

    @cached_property
    def shown(self) -> list[Answer]:
        """Metrics without a claim."""
        return shown_controls(self.study)

    def text(self) -> str:
        """The page as Markdown."""
        own = (self._state, self._ladder, self._beyond, self._strengths, self._short, self._cost, self._stddev)
        return _joined(_HEAD, *(part() for part in own), _TAIL) + "\n"

    def _figure(self, name: str, caption: str) -> list[str]:
        return [f"![{caption}](study/figures/{name}.png)", f"<sub>{caption}</sub>"] if name in self.figures else []

    def _state(self) -> str:
        lines = ["## What is here", *(f"* {line}" for line in self.study.missing())]
        return _joined(lines[0], "\n".join(lines[1:]))

    def _ladder(self) -> str:
        it, table = self.ladder, self.ladder.table
        question = (
            "**Asked:** does kappa, how near to one-hot a teacher is on its own training images, say how much an "
            "augmentation is worth? Claim, fixed before: the log gain of cutmix over identity rises with kappa, over "
            "six teachers (Spearman, exact one-sided p). Students: resnet8, 2,000 steps, two seeds."
        )
        if len(table) < 2:
            return _joined("## The ladder", question, f"Cannot answer: {len(table)} of {it.planned} teachers are here.")
        columns: dict[str, Show] = {
            "teacher": lambda row: row.teacher,
            "kappa [95 %]": lambda row: f"{row.kappa:.3f} [{row.low:.3f}, {row.high:.3f}]",
            "teacher's top-1": lambda row: f"{100 * row.top1:.1f} %",
            "loss, identity": lambda row: f"{row.identity:.4f}",
            "loss, cutmix": lambda row: f"{row.cutmix:.4f}",
            "log gain of cutmix": lambda row: f"{row.gain:+.4f} ± {row.gain_se:.4f}",
            "points": lambda row: f"{row.points:+.2f}",
            f"log gain of {RANDAUGMENT}": lambda row: f"{row.gain_randaugment:+.4f}",
        }
        rho, p, beside = it.of_kappa.statistic, it.of_kappa.pvalue, it.of_accuracy
        head = f"Spearman's rho of kappa and gain over {len(table)} teachers: {rho:.2f}, exact one-sided p {_p(p)}"
        head += f" (floor {_p(it.floor)}); of the teacher's accuracy and gain: {beside.statistic:.2f}, "
        head += f"p {_p(beside.pvalue)}."
        if len(table) >= 3 and not math.isfinite(p):
            head = f"Spearman's rho cannot be computed: {it.of_kappa.note}."
        if it.whole:
            verdict = "**Found:** " + (
                "the gain rises with kappa; so the claim holds on these teachers."
                if p <= ALPHA
                else "the claim is not shown: the gain does not rise with kappa reliably."
            )
        else:
            verdict = (
                f"**So far, not an answer:** {len(table)} of {it.planned} teachers; the claim is judged over all, and "
                "what stands here will change."
            )
        clear = list(table.teacher[table.gain.abs() > 2 * table.gain_se])
        noise = (
            "Errors are of two seeds, so rough. Gains beyond two of their errors: "
            f"{', '.join(map(str, clear)) or 'none'}. Kappa and accuracy are confounded here: which of the two it is "
            "that matters, these teachers tell only where their orders differ."
        )
        return _joined(
            "## The ladder: does kappa say how much an augmentation is worth?",
            question,
            _table(table, columns),
            head,
            f"{verdict} {noise}",
            *self._figure(
                "ladder", "Log gain over identity against kappa and against accuracy; bars: error over two seeds."
            ),
        )

    def _beyond(self) -> str:
        names = ", ".join(f"`{name}` ({entry.better} is better)" for name, entry in entries().items())
        question = (
            f"**Asked:** does a metric know more of a unit than a list of augmentations does? Named before: {names}; "
            "p by permuting units within student, one-sided, Holm over three. Controls are shown without a claim."
        )
        rows = [
            {
                "metric": each.metric,
                "units": str(each.units),
                "correlation beyond the list": _number(each.correlation, "+.2f"),
                "p": _p(each.p),
                "p, Holm": _p(each.adjusted) if each in self.named else "no claim",
                "note": each.note,
            }
            for each in (*self.named, *self.shown)
        ]
        answered = [each for each in self.named if math.isfinite(each.adjusted)]
        found = [each for each in answered if each.adjusted <= ALPHA]
        if len(answered) < len(self.named):
            verdict = "**Cannot answer yet** (or refused): see the notes."
        elif found:
            verdict = f"**Found:** value beyond a list is shown for {', '.join(each.metric for each in found)}."
        else:
            verdict = "**Found:** none of the three shows value beyond a list."
        return _joined(
            "## The strengths: does a metric know more than a list?",
            question,
            _markdown(rows),
            verdict,
            *self._warm(),
            "What whole units can carry, in the order in which they are finished:",
            _markdown(_carried()),
            *self._simulated(),
            *self._figure(
                "beyond_list", "Metrics and losses, standardised in units, without the mean of each setting."
            ),
        )

    def _warm(self) -> list[str]:
        table = self.tables["warm_scores"]
        if table.empty:
            return []
        columns: dict[str, Show] = {
            "unit": lambda row: row.unit,
            "metric": lambda row: row.metric,
            "spread of the twelve settings": lambda row: f"{row.spread:.4f}",
            "error": lambda row: f"{row.se:.4f}",
        }
        about = (
            "How well the scores that are read with a warm student are known (no student's loss is looked at). Error: "
        )
        about += (
            "the median standard error, of `grad_align` and `branch_loss` that of the difference to the best, paired; "
        )
        about += "of the others that of a value, a part of which is the same for all settings. Where a paired error is "
        about += "near the spread, the order of the settings is mostly noise."
        return [about, _table(table, columns)]

    def _simulated(self) -> list[str]:
        path = self.study.records / "tables" / "simulation.csv"
        if not path.exists():
            return []
        table = pd.read_csv(path)
        columns: dict[str, Show] = {
            "units": lambda row: f"{row.units:.0f}",
            "true correlation": lambda row: f"{row.truth:.1f}",
            "measured, mean": lambda row: f"{row.correlation:+.2f}",
            "one test at 5 %": lambda row: f"{row.single:.3f}",
            "first of three by Holm, others know nothing": lambda row: f"{row.alone:.3f}",
            "first of three by Holm, others alike": lambda row: f"{row['all']:.3f}",
            "any of three by Holm": lambda row: f"{row['any']:.3f}",
        }
        about = (
            f"The same code on {table.studies.max():,.0f} simulated studies of this shape: units of a student share "
            "half of the interaction's variance, and differ in scale. Share of rejections:"
        )
        return [about, _table(table, columns), "<sub>`python -m experiments.study.simulation`, seed 0</sub>"]

    def _strengths(self) -> str:
        best, worth = self.tables["best_strength"], self.tables["practical_worth"]
        question = (
            "**Asked:** in the families with several strengths (cutout, mixup, randaugment), how often does a metric "
            "choose the one with the lowest loss, and what does its choice cost, against always taking the middle "
            "one? And is a list of the other units better with a metric than without?"
        )
        if best.empty:
            return _joined("## Which strength?", question, "Cannot answer: no unit has all twelve settings yet.")
        columns: dict[str, Show] = {
            "family": lambda row: row.family,
            "choice by": lambda row: row.rule,
            "units": lambda row: f"{row.units}",
            "best in": lambda row: f"{100 * row.best:.0f} %",
            "regret, nats": lambda row: f"{row.regret:.4f}",
            "less than the middle's [95 %]": lambda row: _interval(row.less, row.low, row.high, "+.4f"),
        }
        parts = ["## Which strength?", question, _table(best, columns)]
        if worth.empty:
            parts.append("Leave-one-unit-out lists need three whole units.")
        else:
            more: dict[str, Show] = {
                "choice by": lambda row: row.rule,
                "units": lambda row: f"{row.units}",
                "tau": lambda row: _interval(row.tau, row.tau_low, row.tau_high, ".2f"),
                "regret of the first, nats": lambda row: _interval(row.regret, row.regret_low, row.regret_high, ".4f"),
                "tau gained": lambda row: _interval(row.tau_gain, row.tau_gain_low, row.tau_gain_high, "+.2f"),
                "regret saved": lambda row: _interval(
                    row.regret_gain, row.regret_gain_low, row.regret_gain_high, "+.4f"
                ),
            }
            parts += [
                "Lists of the other units, judged in the one left out (intervals over units, which are not "
                "independent):"
            ]
            parts.append(_table(worth, more))
        return _joined(*parts, *self._figure("strengths", "Test loss over strengths, less that of identity."))

    def _short(self) -> str:
        table, noise = self.tables["fidelity"], self.tables["seed_variance"]
        question = (
            "**Asked:** what do whole schedules compressed to 100 and 400 steps say of 2,000? They are what every "
            "score must beat at equal cost."
        )
        parts = ["## Short runs and seed noise", question]
        if table.empty:
            parts.append("Cannot answer: no unit has all twelve settings at both lengths yet.")
        else:
            columns: dict[str, Show] = {
                "steps": lambda row: f"{row.steps}",
                "ranked by": lambda row: row.by.replace("_", " ").replace("held out", "held-out"),
                "unit": lambda row: row.unit,
                "Pearson": lambda row: _number(row.pearson, ".2f"),
                "tau-b [95 %]": lambda row: _interval(row.tau, row.tau_low, row.tau_high, ".2f"),
                "regret of the first, nats": lambda row: _number(row.regret, ".4f"),
            }
            parts.append(_table(table, columns))
        if not noise.empty:
            of_noise: dict[str, Show] = {
                "unit": lambda row: row.unit,
                "steps": lambda row: f"{row.steps:,}",
                "settings": lambda row: f"{row.settings}",
                "sd of a run, nats": lambda row: f"{row.sd:.4f}",
                "less what a seed does to all": lambda row: f"{row.paired:.4f}",
                "spread of settings' means": lambda row: f"{row.spread:.4f}",
            }
            whole = noise[noise.steps == noise.steps.max()]
            parts.append("Seed noise of the test loss, from pairs of seeds:")
            parts.append(_table(noise, of_noise))
            parts.append(
                f"Root mean square over {len(whole)} units at {whole.steps.max():,} steps: "
                f"{math.sqrt((whole.sd**2).mean()):.4f} nats a run, {math.sqrt((whole.paired**2).mean()):.4f} of what "
                "is not shared by settings."
            )
        return _joined(*parts, *self._figure("short_runs", "Short runs against whole ones, standardised in units."))

    def _cost(self) -> str:
        columns: dict[str, Show] = {
            "answer about twelve settings": lambda row: row.answer,
            "whole runs of the student": lambda row: f"{row.runs:.3f}",
            "counted in": lambda row: row["from"],
        }
        return _joined("## What an answer costs", _table(self.tables["costs"], columns))

    def _stddev(self) -> str:
        images, drawn, pairs = (self.tables[name] for name in ("destroyed", "drawing", "pairs_of_ladder"))
        parts = ["## Where T. stddev fails, and why"]
        if not images.empty:
            usual = images[images.information_kept >= KEPT]
            best_usual, least = usual.iloc[0], images.iloc[0]
            columns: dict[str, Show] = {
                "images": lambda row: row.setting,
                "T. stddev (lower is better)": lambda row: f"{row.t_stddev:.6f} ± {row.t_stddev_se:.6f}",
                "entropy of the teacher": lambda row: f"{row.t_entropy:.3f}",
                "information kept": lambda row: f"{100 * row.information_kept:.1f} %",
            }
            parts += [
                "T. stddev is small where the teacher says the same of all images. It says that of images that show "
                f"nothing, too: the best value of the teacher T0 is {least.t_stddev:.6f}, of images that are all "
                f"{least.setting} and keep {100 * least.information_kept:.1f} % of the information. Of what keeps a "
                f"quarter or more, `{best_usual.setting}` is best, with {best_usual.t_stddev:.6f}. Cutout is the "
                "better the larger its square, up to the whole image: the score is monotone in strength, so it "
                "cannot find a best strength. `dametric score` marks rows that keep less than a quarter as "
                "destroyed, and never recommends them.",
                _table(images, columns),
                *self._figure("destroyed", "T. stddev against information kept, teacher T0."),
            ]
        if not pairs.empty:
            loud = pairs[pairs.loss.abs() > 2 * pairs.noise]
            agree, total = int(loud.agree.sum()), len(loud)
            parts.append(
                f"On the ladder T. stddev has the sign of the difference in loss in {int(pairs.agree.sum())} of "
                f"{len(pairs)} pairs of settings; of those whose difference is beyond two of its errors in {agree} of "
                f"{total}. Nothing is claimed from three settings."
            )
        if not drawn.empty:
            columns = {
                "teacher": lambda row: row.teacher,
                "settings": lambda row: f"{row.settings}",
                "tau-b of the two orders": lambda row: f"{row.tau:.2f}",
                "per batch over per sample, mean": lambda row: f"{row.ratio:.3f}",
                "furthest from 1": lambda row: f"{row.largest:.3f} ({row.of})",
            }
            parts += [
                "### Parameters drawn once a batch, or for each sample",
                "The published code draws them once a batch, this package for each sample. The scores:",
                _table(drawn, columns),
                "Students with parameters drawn once a batch have not been trained, so what it does to them is not "
                "known.",
            ]
        return _joined(*parts)


def _carried() -> list[Row]:
    rows: list[Row] = []
    tests = len(entries())
    for count in range(1, len(UNITS) + 1):
        students = [student for _, student in UNITS[:count]]
        least = floor(students)
        can = "yes" if tests * least <= ALPHA else "single metrics only, without a claim" if least <= ALPHA else "no"
        unit = " -> ".join(UNITS[count - 1])
        rows.append(
            {
                "units": str(count),
                "the last": unit,
                "floor of p": _p(least),
                "floor by Holm": _p(min(1, tests * least)),
                "can answer": can,
            }
        )
    return rows


def _joined(*parts: str) -> str:
    return "\n\n".join(parts)


def _table(table: pd.DataFrame, columns: Mapping[str, Show]) -> str:
    return _markdown([{name: show(row) for name, show in columns.items()} for _, row in table.iterrows()])


def _markdown(rows: Sequence[Row]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row[name]) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _p(value: float) -> str:
    return "-" if not math.isfinite(value) else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def _number(value: float, kind: str) -> str:
    return format(value, kind) if np.isfinite(value) else "-"


def _interval(value: float, low: float, high: float, kind: str) -> str:
    if not np.isfinite(value):
        return "-"
    return format(value, kind) + (f" [{low:{kind}}, {high:{kind}}]" if np.isfinite(low) else "")


_HEAD = """# What the results show

This page is made by `python -m experiments.study`, from the records and score files that are committed here; nothing in
it is typed by hand. New runs come by `make study`, new scores by `python -m experiments.study.scores`.

**The study.** What is a score of augmentations worth on real students? CIFAR-100, 5,000 training images, students of
2,000 steps by the published objective, float32; loss is the test loss (nats) at the last step. Teachers T1 to T5 are
resnet20s trained by labels on the same images for 8, 20, 50, 120 and 300 epochs, T6 to T8 other networks, T0 a resnet20
of all 50,000 images. Endpoint, tests and metrics were fixed before a student was trained; what is not named then is
exploratory."""

_TAIL = """## What else is in this folder

* `study/`: records and histories of all runs, teachers, `scores/`, `tables/` (CSV, as above), `figures/`.
* `choose/`, `choose-digits/`: calibration of `dametric choose`, and its replay on digits
  ([choosing](../../docs/choosing.md)).
* `digits/`, `cifar100/`, `benchmarks/`, `statistics/`, `mutation/`: what the README and the pages of `docs/` quote,
  each beside its command."""
