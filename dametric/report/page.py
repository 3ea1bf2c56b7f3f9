"""The report: an answer in words, figures and tables on one page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from dametric.ledger import code_version, read_record
from dametric.report import panels
from dametric.results import Scores
from dametric.stats.joined import prepare

UNKNOWN = "–"
LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels", "matplotlib", "Jinja2")
DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "open": "no direction stated, lower taken"}


class Cell(NamedTuple):
    """What a table shows, and what it is sorted by."""

    text: str
    value: float | str | None


@dataclass(frozen=True)
class Table:
    """A table of the report; the first column says what a row is about."""

    key: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers."""
        return tuple(
            all(not isinstance(row[place].value, str) for row in self.rows) for place in range(len(self.columns))
        )


@dataclass(frozen=True)
class Advice:
    """Which augmentation to take in one unit, how sure that is, and what it costs to be wrong.

    Attributes
    ----------
    unit : str
    choice : str
        The augmentation with the best score; several, joined by "or", where scores are equal.
    score, score_se : float
        NaN where the error is not known.
    direction : str
    tied : tuple of str, or None
        What the scores cannot tell apart from it at 95 %; None where they have no errors.
    count : int
        Augmentations with a score.
    best : str
        The augmentation with the lowest test loss.
    cost, points, seed_errors : float
        Test loss of the choice above the lowest (nats), accuracy below the highest (percent points), and the cost in
        seed standard errors; NaN where it is not known.
    tied_cost, random_cost : float
        The highest cost among the choice and what cannot be told apart from it, and the mean over all.
    """

    unit: str
    choice: str
    score: float
    score_se: float
    direction: str
    tied: tuple[str, ...] | None
    count: int
    best: str
    cost: float
    points: float
    seed_errors: float
    tied_cost: float
    random_cost: float

    @property
    def sure(self) -> str:
        """How sure the choice is, as far as the scores go."""
        if self.tied is None:
            return "The scores have no errors, so it is not known which others might be as good."
        if not self.tied:
            return f"All {self.count - 1} others are told apart from it at 95 %."
        return f"Not told apart from it at 95 %: {', '.join(self.tied)} ({len(self.tied)} of {self.count - 1} others)."

    @property
    def price(self) -> str:
        """What taking it costs, as measured on the students."""
        if math.isnan(self.cost):
            return "It was not distilled here, so what it costs is not known."
        if self.cost == 0:
            less = f", but accuracy is {self.points:.2f} percent points below the best" if self.points > 0 else ""
            text = f"No other augmentation gave a lower test loss{less}."
        else:
            extra = "" if math.isnan(self.points) else f", {self.points:.2f} percent points of accuracy below the best"
            extra += "" if math.isnan(self.seed_errors) else f", {self.seed_errors:.1f} seed standard errors"
            text = f"Its students' test loss is {self.cost:.4f} nats above that of {self.best}{extra}."
        if self.tied and not math.isnan(self.tied_cost):
            text += f" Taking the worst of those not told apart costs {self.tied_cost:.4f} nats."
        return f"{text} One taken at random costs {self.random_cost:.4f} nats on average."


@dataclass(frozen=True)
class Material:
    """Everything a report is made from.

    Attributes
    ----------
    frame : pandas.DataFrame
        What was analysed: score files joined with a ledger, or the published points.
    found : mapping
        What :func:`dametric.stats.analyse` said of it.
    scores : tuple of Scores
        Empty for the published points.
    files : tuple of (str, str)
        Path and SHA-256 of every score file.
    runs : pandas.DataFrame, optional
        From :func:`dametric.ledger.load_runs`.
    command : str
        That makes the report.
    """

    frame: pd.DataFrame
    found: Mapping[str, Any]
    scores: tuple[Scores, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    runs: pd.DataFrame | None = None
    command: str = ""

    @cached_property
    def table(self) -> pd.DataFrame:
        """The frame with all columns."""
        return prepare(self.frame)

    @property
    def metric(self) -> str:
        """The one that the answer is about."""
        return str(self.found["confirmatory"][0]["metric"])


def advise(material: Material) -> list[Advice]:
    """What to take in each unit.

    Parameters
    ----------
    material : Material

    Returns
    -------
    list of Advice
        In the order of the units. The choice is among everything that was scored, distilled or not, where there is
        a score file; the cost is about what was distilled.
    """
    rows = material.table[material.table["metric"] == material.metric]
    return [_advice(material, str(unit), part) for unit, part in rows.groupby("unit", sort=False)]


def _advice(material: Material, unit: str, rows: pd.DataFrame) -> Advice:
    metric, direction = material.metric, str(rows["direction"].iloc[0])
    file = _file_of(material.scores, rows, metric)
    points = _scored(file, metric) if file else rows[["aug", "score", "score_se"]]
    points = points.dropna(subset="score").reset_index(drop=True)
    turned = points["score"] if direction != "higher" else -points["score"]
    place = int(turned.to_numpy().argmin())
    same = [str(name) for name in points["aug"][turned == turned[place]]]
    choice = " or ".join(same)
    tied = _tied(points, place, file, metric)
    loss = rows.set_index("aug")["test_loss"]
    described = material.found["units"][unit][metric]
    costs = loss - loss.min()
    first = described["regret"][0] if set(same) == set(described["best"]["by_score"]) else {}
    alike = [name for name in dict.fromkeys([*same, *(tied or ())]) if name in loss]
    own = costs.reindex(same).mean()  # NaN where none of them was distilled
    return Advice(
        unit=unit,
        choice=choice,
        score=float(points["score"][place]),
        score_se=float(points["score_se"][place]),
        direction=direction,
        tied=tied,
        count=len(points),
        best=" or ".join(described["best"]["by_loss"]),
        cost=_or_nan(first.get("loss", own)),
        points=_or_nan(first.get("points")),
        seed_errors=_or_nan(first.get("seed_errors")),
        tied_cost=float(costs[alike].max()) if alike and tied is not None else math.nan,
        random_cost=float(costs.mean()),
    )


def _or_nan(value: Any) -> float:
    return math.nan if value is None else float(value)


def _file_of(files: Sequence[Scores], rows: pd.DataFrame, metric: str) -> Scores | None:
    """The score file that these rows come from: the one with the same values."""
    for file in files:
        if metric in file.metrics:
            values = _scored(file, metric).set_index("aug")["score"]
            mine = rows.set_index("aug")["score"]
            if set(mine.index) <= set(values.index) and np.array_equal(values[mine.index], mine, equal_nan=True):
                return file
    return None


def _scored(file: Scores, metric: str) -> pd.DataFrame:
    return file.table[["aug", metric, f"{metric}_se"]].set_axis(["aug", "score", "score_se"], axis=1)


def _tied(points: pd.DataFrame, place: int, file: Scores | None, metric: str) -> tuple[str, ...] | None:
    """By the paired differences of the score file; by the errors, as if independent, for another metric."""
    if file is not None and metric == file.metrics[0] and file.scores[0]["aug"] == points["aug"][place]:
        return tuple(str(score["aug"]) for score in file.scores[1:] if score["tied_with_best"])
    se = points["score_se"].to_numpy(float)
    if not np.isfinite(se).all():
        return None
    gap = np.abs(points["score"].to_numpy(float) - float(points["score"][place]))
    close = gap <= 1.959964 * np.sqrt(se**2 + se[place] ** 2)
    return tuple(str(name) for i, name in enumerate(points["aug"]) if close[i] and i != place)


def lead(material: Material, advice: Sequence[Advice]) -> list[str]:
    """The first words of the report: what to take, how sure, what it costs to be wrong, whether to believe it."""
    metric = material.metric
    better = DIRECTIONS[advice[0].direction]
    if len(advice) == 1:
        only = advice[0]
        error = "" if math.isnan(only.score_se) else f" ± {only.score_se:.2g}"
        first = f"Use {only.choice}: its {metric} is {only.score:.4g}{error}, the best of {only.count} ({better})."
        sentences = [first, only.sure, only.price]
    else:
        counts = Counter(one.choice for one in advice).most_common()
        listed = ", ".join(f"{name} for {number}" for name, number in counts)
        first = f"Best {metric} ({better}) over {len(advice)} units: {listed}."
        known = [one.cost for one in advice if not math.isnan(one.cost)]
        sentences = [first]
        if known:
            random = float(np.mean([one.random_cost for one in advice]))
            sentences.append(
                f"Taking it gave the lowest test loss in {sum(cost == 0 for cost in known)} of {len(known)} and cost"
                f" {np.mean(known):.4f} nats on average, {max(known):.4f} at most; one taken at random costs"
                f" {random:.4f} on average."
            )
        if all(one.tied is None for one in advice):
            sentences.append("The scores have no errors, so it is not known which others might be as good.")
    return [*sentences, _belief(material)]


def _belief(material: Material) -> str:
    entry, alpha = material.found["confirmatory"][0], material.found["settings"]["alpha"]
    if not material.found["answerable"]:
        return "Whether the score can be trusted cannot be answered from these students; the reasons are below."
    if entry["p_holm"] is not None and entry["p_holm"] <= alpha:
        return f"These students speak for trusting {material.metric}; what speaks against it is below."
    return f"These students do not show that {material.metric} can be trusted: take the recommendation with care."


def number(value: Any, form: str = ".4f") -> Cell:
    """A number as it is shown and as it is sorted; a dash where it is not known."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return Cell(UNKNOWN, None)
    return Cell(format(value, form), float(value))


def word(value: Any) -> Cell:
    """A text that is sorted as it is shown; a dash where there is none."""
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return Cell(UNKNOWN, None) if missing else Cell(str(value), str(value))


def _make(key: str, caption: str, columns: Sequence[str], rows: Iterator[Sequence[Cell]]) -> Table:
    """The table without columns of which nothing is known."""
    cells = [tuple(row) for row in rows]
    kept = [place for place in range(len(columns)) if any(row[place].value is not None for row in cells)]
    return Table(key, caption, tuple(columns[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in cells))


def advice_table(material: Material, advice: Sequence[Advice]) -> Table:
    """What to take, a row for each unit."""
    names = ("Take", material.metric, "±", "Not told apart at 95 %", "Lowest test loss", "Cost (nats)")
    extra = ("Cost (seed s.e.)", "Cost (% points)", "Worst not told apart (nats)", "At random (nats)")

    def rows() -> Iterator[Sequence[Cell]]:
        for one in advice:
            tied = None if one.tied is None else ", ".join(one.tied) or "none"
            costs = (number(one.cost), number(one.seed_errors, ".1f"), number(one.points, ".2f"))
            others = (number(one.tied_cost), number(one.random_cost))
            score = (number(one.score, "#.4g"), number(one.score_se, ".2g"))
            yield word(one.unit), word(one.choice), *score, word(tied), word(one.best), *costs, *others

    return _make("take", "What to take in each unit, and what it costs", ("Unit", *names, *extra), rows())


def units_table(material: Material) -> Table:
    """Coefficients with the test loss, a row for each unit and metric."""
    names = ("Metric", "Pearson", "low", "high", "p", "Spearman", "p", "Kendall", "p", "Slope", "R²", "Regret@1", "n")

    def rows() -> Iterator[Sequence[Cell]]:
        for unit, metrics in material.found["units"].items():
            for metric, about in metrics.items():
                found, line = about["coefficients"]["test_loss"], about["ols"]
                pearson = (number(found["pearson"][name]) for name in ("statistic", "low", "high"))
                chance = {name: number(found[name]["pvalue"], ".2g") for name in panels.WORD}
                yield (
                    word(unit),
                    word(metric),
                    *pearson,
                    chance["pearson"],
                    number(found["spearman"]["statistic"]),
                    chance["spearman"],
                    number(found["kendall"]["statistic"]),
                    chance["kendall"],
                    number(line["slope"]["statistic"], "#.4g"),
                    number(line["r_squared"], ".2f"),
                    number(about["regret"][0]["loss"]),
                    number(about["n"], "d"),
                )

    caption = "Correlation with the test loss (last epoch, mean over seeds), two-sided permutation p-values"
    return _make("units", caption, ("Unit", *names), rows())


def points_table(material: Material) -> Table:
    """The points of the scatter plots."""
    rows = material.table[material.table["metric"] == material.metric]
    names = ("Unit", material.metric, "±", "Test loss", "±", "Top-1", "±", "Seeds", "Cook's distance")

    def cells() -> Iterator[Sequence[Cell]]:
        for row in rows.to_dict("records"):
            line = material.found["units"][row["unit"]][material.metric]["ols"]
            loss = (number(row["test_loss"]), number(row["test_loss_se"], ".2g"))
            top1 = (number(row["test_top1"]), number(row["test_top1_se"], ".2g"))
            score = (number(row["score"], "#.4g"), number(row["score_se"], ".2g"))
            cook = number(line["cook"][row["aug"]], ".2f")
            cook = cook._replace(text=f"{cook.text} (above 4/n)") if row["aug"] in line["flagged"] else cook
            yield word(row["aug"]), word(row["unit"]), *score, *loss, *top1, number(row["seeds"], ".0f"), cook

    caption = "Scores and students, mean over seeds ± standard error"
    return _make("points", caption, ("Augmentation", *names), cells())


def metrics_table(material: Material) -> Table:
    """Kendall's tau-b of each metric, with the tests of the first metric against the others."""
    against = {entry["second"]: entry for entry in material.found["comparisons"]}
    names = ("Direction", "Fixed in advance", "tau-b", "low", "high", "p", "p adjusted", "Difference", "p (swap, Holm)")

    def rows() -> Iterator[Sequence[Cell]]:
        for row in panels.metrics_rows(material.found):
            test = against.get(row["metric"])
            gap = (number(test["bootstrap"]["statistic"]), number(test["p_holm"], ".2g")) if test else (word(None),) * 2
            numbers = (number(row[name]) for name in ("tau_b", "low", "high"))
            chances = (number(row[name], ".2g") for name in ("p", "p_adjusted"))
            fixed = word("yes" if row["confirmatory"] else "no, exploratory")
            yield word(row["metric"]), word(row["direction"]), fixed, *numbers, *chances, *gap

    first = material.found["comparisons"][0]["first"] if against else material.metric
    caption = (
        "Kendall's tau-b with the test loss. Metrics that were fixed in advance: one-sided where a direction was"
        f" stated, Holm; others: two-sided, Benjamini-Hochberg. Difference: tau-b of {first} minus that of the row's"
        " metric, in the stated directions"
    )
    return _make("metrics", caption, ("Metric", *names), rows())


def influence_table(chart: panels.Chart) -> Table:
    """The ranges of the leave-one-out figure."""

    def rows() -> Iterator[Sequence[Cell]]:
        for row in chart.data.to_dict("records"):
            values = (number(row[name]) for name in ("full", "low", "high"))
            what = {"aug": "one augmentation", "family": "one family"}[row["left_out"]]
            yield word(row["unit"]), word(what), *values, word(row["lowest_without"])

    names = ("Unit", "Left out", "tau-b", "lowest", "highest", "Lowest without")
    return _make("influence", "Kendall's tau-b with everything, and with one part left out", names, rows())


def runs_table(runs: pd.DataFrame) -> Table:
    """Every run of the ledger."""
    words = ("status", "kind", "teacher", "student", "data", "aug")
    forms = {"test_loss": ".4f", "test_top1": ".4f", "test_top5": ".4f", "test_ece": ".4f", "test_agreement": ".4f"}
    forms |= {"best_test_top1": ".4f", "seconds": ".1f"}
    names = ("Seed", "Epoch", "Of", "Test loss", "Top-1", "Top-5", "ECE", "Agreement", "Best top-1", "Seconds")

    def rows() -> Iterator[Sequence[Cell]]:
        for row in runs.to_dict("records"):
            counts = (number(row[name], "d") for name in ("seed", "epoch", "epochs"))
            yield (
                word(row["id"]),
                *(word(row[name]) for name in words),
                *counts,
                *(number(row[name], form) for name, form in forms.items()),
            )

    caption = "Every run of the ledger: last epoch, losses in nats, accuracies as fractions"
    return _make("runs", caption, ("Run", *(name.capitalize() for name in words), *names), rows())


def provenance(material: Material) -> list[tuple[str, str]]:
    """How each number was made, as names and texts."""
    found, settings = material.found, material.found["settings"]
    code = code_version()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    rows = [
        ("Command", material.command),
        ("Primary endpoint", found["primary"]),
        ("Fixed in advance", ", ".join(entry["metric"] for entry in found["confirmatory"])),
        (
            "Analysis",
            f"level {settings['alpha']:g}, intervals {settings['confidence']:.0%}, {settings['resamples']} random"
            f" permutations where not exact, seed {settings['seed']}",
        ),
        ("Program", f"dametric {code['version']}, source {code['sha256']}; {versions}"),
    ]
    for (path, digest), file in zip(material.files, material.scores, strict=True):
        rows += _of_scores(path, digest, file)
    if material.runs is not None:
        rows += _of_runs(material.runs)
    return [(name, text) for name, text in rows if text]


def _of_scores(path: str, digest: str, file: Scores) -> list[tuple[str, str]]:
    config, teacher = file.config, file.config.get("teacher") or {}
    settings = {name: config[name] for name in ("protocol", "n", "G", "b", "w", "temperature", "per") if name in config}
    listed = ", ".join(f"{name} {value}" for name, value in settings.items())
    data = config["data"]
    versions = ", ".join(f"{name} {value}" for name, value in file.versions.items())
    return [
        ("Score file", f"{path}, SHA-256 {digest}"),
        ("— teacher", f"{teacher.get('arch', 'not named')}, SHA-256 {teacher.get('sha256', 'not known')}"),
        ("— data", f"{data['name']}, fingerprint {data.get('fingerprint', 'not known')}"),
        ("— settings", f"{file.batches} batches, seed {config.get('seed', 'not known')}, {listed}"),
        ("— versions", versions),
    ]


def _of_runs(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """What the runs have in common is said once: recipes, code and versions with how many runs have them."""
    recipes, codes, versions = Counter[str](), Counter[str](), Counter[str]()
    for folder in runs["folder"]:
        record = read_record(Path(folder) / "record.json")
        recipe = {k: v for k, v in record["config"]["recipe"].items() if k not in ("aug", "seed")}
        recipes[json.dumps(recipe, sort_keys=True)] += 1
        code = record.get("code") or {}
        codes[f"dametric {code.get('version')}, source {code.get('sha256')}"] += 1
        versions[", ".join(f"{name} {value}" for name, value in (record.get("versions") or {}).items())] += 1
    status = ", ".join(f"{number} {name}" for name, number in runs["status"].value_counts().items())
    seeds = ", ".join(str(seed) for seed in sorted(runs["seed"].dropna().unique()))
    teachers = ", ".join(str(digest) for digest in runs["teacher_sha256"].dropna().unique())
    rows = [("Runs", f"{len(runs)}: {status}; seeds {seeds}"), ("— teachers, SHA-256", teachers)]
    for name, counter in (("recipe", recipes), ("code", codes), ("versions", versions)):
        rows += [(f"— {name} of {number}", text) for text, number in counter.most_common()]
    return rows


@dataclass(frozen=True)
class Report:
    """What stands on the page, in its order, before it is given a form."""

    material: Material
    title: str
    lead: list[str]
    take: Table
    charts: tuple[tuple[panels.Chart, Table | None], ...]
    runs: Table | None
    provenance: list[tuple[str, str]]


def build(material: Material) -> Report:
    """Put a report together.

    Parameters
    ----------
    material : Material

    Returns
    -------
    Report
    """
    found, metric, table = material.found, material.metric, material.table
    advice = advise(material)
    influence = panels.influence(found, metric)
    charts: list[tuple[panels.Chart, Table | None]] = [
        (panels.scatter(table, found, metric), points_table(material)),
        (panels.forest(found, metric), units_table(material)),
        (influence, influence_table(influence)),
        (panels.metrics_chart(found), metrics_table(material)),
        (panels.regret(table, found, metric), None),
    ]
    return Report(
        material=material,
        title=f"Which augmentation to distil with: {metric} and its students",
        lead=lead(material, advice),
        take=advice_table(material, advice),
        charts=tuple(charts),
        runs=None if material.runs is None else runs_table(material.runs),
        provenance=provenance(material),
    )


def _data_uri(text: str) -> str:
    return "data:text/csv;charset=utf-8," + quote(text)


def _line(text: object) -> str:
    """A text as Markdown shows it literally, within one cell of a table."""
    plain = " ".join(str(text).split())
    for letter in "\\`*_{}[]<>#|":
        plain = plain.replace(letter, f"\\{letter}" if letter not in "<>" else {"<": "&lt;", ">": "&gt;"}[letter])
    return plain


def _environment(html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("dametric.report", "templates"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "line": _line}
    return environment


def html(report: Report) -> str:
    """The report as one page that loads nothing.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
        Its content security policy forbids every request and every script but its own.
    """
    environment = _environment(True)
    assert environment.loader is not None
    script = environment.loader.get_source(environment, "report.html.j2")[0]
    script = script.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    drawn = {
        chart.key: [panels.inline_svg(panel, f"{chart.key}{place}") for place, panel in enumerate(chart.panels)]
        for chart, _ in report.charts
    }
    keys = {
        chart.key: [(panels.key_svg(mark), name) for name, mark in chart.marks.items()] for chart, _ in report.charts
    }
    return environment.get_template("report.html.j2").render(report=report, drawn=drawn, keys=keys, digest=digest)


def markdown(report: Report) -> str:
    """The report as Markdown: words and tables, no figures."""
    return _environment(False).get_template("report.md.j2").render(report=report)


TEXTS = {"html": html, "md": markdown}


def pdf(report: Report) -> bytes:
    """The report as A4 pages: the words, then the figures."""
    buffer = BytesIO()
    with PdfPages(buffer, metadata={"Title": report.title, "CreationDate": None}) as book:
        for page in _words(report):
            book.savefig(page)
        for chart, _ in report.charts:
            for page in panels.pages(chart):
                with panels.style():
                    book.savefig(page)
    return buffer.getvalue()


def _words(report: Report, per_page: int = 44) -> Iterator[Figure]:
    """Pages of text: the answer, what to take, how the numbers were made."""
    said = [*report.lead, "", *(f"• {text}" for text in report.material.found["verdict"]), ""]
    for row in report.take.rows:
        cells = (f"{name} {cell.text}" for name, cell in zip(report.take.columns[1:], row[1:], strict=True))
        said.append(f"{row[0].text}: {'; '.join(cells)}")
    said += ["", *(f"{name}: {text}" for name, text in report.provenance)]
    lines = [line for text in said for line in (textwrap.wrap(text, 150) or [""])]
    for start in range(0, len(lines), per_page):
        with panels.style():
            figure = Figure(figsize=(11.69, 8.27))
            figure.text(0.05, 0.93, report.title if start == 0 else "", fontsize="x-large", weight="bold")
            text = "\n".join(lines[start : start + per_page])
            figure.text(0.05, 0.9, text, va="top", fontsize=9, linespacing=1.35)
        yield figure
