"""The report: what is said is what was found, whatever the names are, and the page loads nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

import dametric
from dametric.analysis import Analysis, analyse, read_study
from dametric.analysis.words import answer, price_of
from dametric.errors import UsageError
from dametric.records.runs import Run, load_runs
from dametric.reports import page
from dametric.reports.charts.forest import forest_rows
from dametric.reports.drawing import WORD, marks_of
from dametric.reports.sheets import rendered
from dametric.stats import published_frame

HOSTILE = "<script>alert('x')</script>"
AUGS = ("identity", "crop+flip", "cutout", "mixup", "cutmix", HOSTILE, "price$_{1}$|`b`", "\u72ac --> &amp;")
STUDENTS = ("resnet8", "wrn_16_1")
VOID = {"wbr", "meta", "link", "br", "img", "input", "hr"}
ALLOWED = "https://arxiv.org/abs/2012.02909"


class Page(HTMLParser):
    """Tags that close, attributes, and the text of every table."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.rows: list[list[tuple[str, str]]] = []
        self.cell: list[str] | None = None
        self.value = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell, self.value = [], found.get("data-v", "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th") and self.cell is not None:
            self.rows[-1].append(("".join(self.cell).strip(), self.value))
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data
        if self.cell is not None:
            self.cell.append(data)

    def row(self, *heads: str) -> list[tuple[str, str]]:
        """The one row that begins like this."""
        found = [row for row in self.rows if tuple(text for text, _ in row[: len(heads)]) == heads]
        assert len(found) == 1, heads
        return found[0]


def write_study(folder: Path) -> tuple[str, str]:
    """A score file of eight augmentations and a ledger of their students."""
    draw = np.random.default_rng(0)
    scores = []
    for place, aug in enumerate(AUGS):
        values = {"t_stddev": 0.01 + 0.001 * place, "t_entropy": 2 - 0.1 * place + 0.05 * draw.normal()}
        directions = {"t_stddev": "lower", "t_entropy": "higher"}
        metrics = {
            name: {
                "value": value,
                "se": 0.0004,
                "low": value - 8e-4,
                "high": value + 8e-4,
                "direction": directions[name],
            }
            for name, value in values.items()
        }
        difference = {"to": AUGS[0], "value": 0.001 * place, "se": 0.0005, "low": 0.0, "high": 0.0}
        tied = {"difference": difference, "tied_with_best": place < 2, "parameters": [], "rows": 64, "batches": 4}
        scores.append({"aug": aug, "metrics": metrics, **tied})
    teacher = {"arch": "resnet20", "sha256": "a" * 64}
    config = {"metrics": ["t_stddev", "t_entropy"], "teacher": teacher, "n": 64, "b": 16, "batches": 4, "seed": 3}
    config["data"] = {"name": "digits", "fingerprint": "f" * 64}
    document = {"dametric_scores": 1, "scores": scores, "config": config, "versions": {"torch": "2.6"}}
    path = folder / "scores.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    for student in STUDENTS:
        for place, aug in enumerate(AUGS):
            for seed in range(2):
                write_run(folder / "runs", student, aug, seed, 1 + 0.05 * place + 0.02 * draw.normal(), teacher)
    return str(path), str(folder / "runs")


def write_run(folder: Path, student: str, aug: str, seed: int, loss: float, teacher: dict[str, Any]) -> None:
    recipe = {"base_aug": "crop+flip", "aug": aug, "seed": seed, "epochs": 2, "lr": 0.1}
    run = Run.of(folder, {"student": student, **recipe}, f"{student}-{aug}-{seed}")
    run.folder.mkdir(parents=True)
    last = {"epoch": 2, "test_loss": loss, "test_top1": 1 - loss / 4, "test_top5": 1.0, "test_ece": 0.1}
    about = {"student": {"arch": student}, "teacher": teacher, "data": {"name": "digits"}}
    made = {"code": {"version": "0.1.0", "sha256": "c" * 64}, "versions": {"torch": "2.6"}, "timing": {"seconds": 1.5}}
    config = {"kind": "distill", "recipe": recipe}
    names = {"id": run.folder.name[-16:], "status": "finished", "error": None}
    run.write_record({**names, "config": config, "about": about, "last": last, "best": last, **made})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def material(study: tuple[str, str]) -> Analysis:
    return dametric.correlate(study, metrics="t_stddev", resamples=199)


@pytest.fixture(scope="module")
def report(material: Analysis) -> page.Report:
    return page.build(material, made_by="dametric report")


@pytest.fixture(scope="module")
def text(report: page.Report) -> str:
    return report.html()


@pytest.fixture(scope="module")
def parsed(text: str) -> Page:
    return Page(text)


def test_nothing_is_loaded_from_anywhere(parsed: Page) -> None:
    for tag, found in parsed.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            target = found.get(name)
            if target is not None and not (tag == "a" and target == ALLOWED):
                assert target.startswith(("#", "data:")), (tag, target)
    styles = [found["style"] for _, found in parsed.tags if "style" in found]
    assert not any("http" in style for style in styles)


def test_the_policy_allows_the_script_of_the_page_and_no_other(text: str, parsed: Page) -> None:
    policies = [found["content"] for _, found in parsed.tags if "http-equiv" in found]
    script = text.partition("<script>")[2].partition("</script>")[0]
    assert text.count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policies[0]
    assert "default-src 'none'" in policies[0]


def test_ids_are_unique_and_what_is_referred_to_is_there(text: str, parsed: Page) -> None:
    ids = Counter(found["id"] for _, found in parsed.tags if "id" in found)
    assert max(ids.values()) == 1
    targets = [found["href"][1:] for _, found in parsed.tags if found.get("href", "").startswith("#")]
    labels = [found["aria-labelledby"] for _, found in parsed.tags if "aria-labelledby" in found]
    assert {*targets, *labels} <= ids.keys()
    urls = [part.partition(")")[0] for part in text.split("url(#")[1:]]
    assert set(urls) <= ids.keys()


def test_every_name_is_there_as_it_is(text: str, parsed: Page, material: Analysis) -> None:
    assert HOSTILE not in text
    for aug in AUGS:
        assert aug in parsed.text
    assert all(unit in parsed.text for unit in material.units)
    assert len(material.reasons) == len(material.verdict) - 1
    assert all(sentence in parsed.text for sentence in material.reasons)


def test_the_page_opens_with_what_to_take(parsed: Page, report: page.Report, material: Analysis) -> None:
    assert material.answer[0] == "Use identity: in all 2 units it has the best t_stddev (lower is better)."
    assert material.answer[1].startswith(
        "How sure: the best score is distinguishable from all others (95 %) in 0 of 2 units."
    )
    assert material.answer[2].startswith("What it costs to be wrong: the augmentation with the best score has")
    assert parsed.text.index(material.answer[0]) < parsed.text.index(material.verdict[0])
    advice = material.advice
    assert [one.choice for one in advice] == ["identity"] * 2
    assert [one.tied for one in advice] == [("crop+flip",)] * 2
    for one in advice:
        rows = material.rows[(material.rows["unit"] == one.unit) & (material.rows["metric"] == "t_stddev")]
        losses = rows.set_index("aug")["test_loss"]
        assert one.cost == pytest.approx(losses["identity"] - losses.min())
        assert one.tied_cost == pytest.approx(losses[["identity", "crop+flip"]].max() - losses.min())
        assert one.random_cost == pytest.approx(losses.mean() - losses.min())


def test_one_unit_is_answered_in_words(material: Analysis, study: tuple[str, str]) -> None:
    one = material.advice[0]
    read = read_study(study)
    found = analyse(replace(read, frame=read.frame[read.frame["unit"] == one.unit]), metrics=["t_stddev"], resamples=99)
    words = found.answer
    assert words[0] == "Use identity: of 8 augmentations it has the best t_stddev, 0.01 ± 0.0004 (lower is better)."
    assert words[1].startswith("How sure: its score is not distinguishable (95 %) from crop+flip (1 of 7 others).")
    p = found.confirmatory[0].families.p_holm
    assert f"(p = {p:.2g})" in words[1]
    assert ("do not show that" in words[1]) == (p > 0.05)
    assert words[2].startswith("What it costs to be wrong: here nothing: no other augmentation gave a lower test loss.")
    assert f"costs {one.tied_cost:.4f} nats." in words[2]
    assert f"random choice costs {one.random_cost:.4f}" in words[2]


def test_one_unit_has_one_figure_of_its_coefficients(material: Analysis, study: tuple[str, str]) -> None:
    read, unit = read_study(study), material.advice[0].unit
    found = analyse(replace(read, frame=read.frame[read.frame["unit"] == unit]), metrics=["t_stddev"], resamples=99)
    charts = {chart.key: chart for chart in page.build(found).charts}
    (panel,) = charts["forest"].panels
    axes = panel.draw(Figure().subplots())
    names = ["Kendall's tau-b", "… one augmentation left out", "… one family left out", "Pearson's r"]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    influence = found.units[unit]["t_stddev"].influence.kendall
    for place, ends in ((1, influence.aug), (2, influence.family)):
        (bar,) = [line for line in axes.lines if list(line.get_ydata()) == [place, place]]
        assert list(bar.get_xdata()) == [ends.low, ends.high]
    assert not charts["influence"].panels
    assert charts["influence"].tables


def test_units_that_disagree_are_answered_in_words(material: Analysis) -> None:
    first = material.advice[0]
    named = [replace(first, best_scored=names) for names in (("a",), ("a", "b"), ("c",), ("c", "d"), ("a",))]

    def bold(count: int) -> str:
        return answer(material.decision, 0.01, named[:count], material.outcome)[0]

    better = "(lower is better)."
    assert bold(5) == f"Use a: in 3 of 5 units it has the best t_stddev, in the others c in 1, c or d in 1 {better}"
    assert bold(4).startswith("No augmentation is best in most of 4 units: take in each the one")
    assert "a in 1, a or b in 1, c in 1, c or d in 1" in bold(4)
    assert bold(2) == f"Use a: in all 2 units it has the best t_stddev {better}"


def test_a_lowest_loss_does_not_hide_an_accuracy_below_the_best(material: Analysis) -> None:
    price = price_of(replace(material.advice[0], cost=0.0, points=0.85), material.outcome)
    assert price.startswith("here nothing: no other augmentation gave a lower test loss, but accuracy is 0.85 perc")


def test_equal_scores_are_named_together() -> None:
    frame = published_frame()
    found = analyse(frame[frame["unit"] == "imagenet/resnet34/resnet18"], resamples=99)
    (one,) = found.advice
    assert (one.choice, one.tied) == ("cutmix_pick_S or cutmix_pick_T", None)
    described = found.units[one.unit]["t_stddev"]
    assert one.best_scored == described.best.by_score
    assert one.cost == described.regret[0].loss > 0
    price = price_of(one, found.outcome)
    assert price.startswith(f"its students' test loss is {one.cost:.4f} nats above the lowest, that of cutmix.")


def test_a_metric_that_is_better_when_higher_is_read_that_way(material: Analysis) -> None:
    other = analyse(material.study, metrics=["t_entropy"], resamples=99)
    table = material.study.scores[0].table
    assert {one.choice for one in other.advice} == {table.loc[table["t_entropy"].idxmax(), "aug"]}
    rows = forest_rows(other, "t_entropy")
    pooled = [row for row in rows if row.pooled]
    assert all(row.value < 0 for row in rows)
    assert pooled[1].low < pooled[1].value < pooled[1].high < 0


def test_numbers_of_the_tables_are_those_of_the_analysis(parsed: Page, material: Analysis) -> None:
    for unit, metrics in material.units.items():
        for metric, about in metrics.items():
            values = {value for _, value in parsed.row(unit, metric)}
            found = about.coefficients.loss
            wanted = [number for name, one in found if name in WORD for number in (one.statistic, one.pvalue)]
            wanted += [found.pearson.low, about.ols.r_squared, about.regret[0].loss]
            assert {str(float(number)) for number in wanted} <= values
    first = material.confirmatory[0]
    values = {value for _, value in parsed.row("t_stddev", "lower", "yes")}
    assert {str(first.result.statistic), str(first.p_holm)} <= values


def test_every_run_is_there(parsed: Page, material: Analysis) -> None:
    assert material.study.runs is not None
    assert len(material.study.runs) == 32
    for run in material.study.runs.to_dict("records"):
        cells = parsed.row(run["id"])
        assert (run["aug"], run["aug"]) in cells
        assert (f"{run['test_loss']:.4f}", str(run["test_loss"])) in cells


def test_tables_can_be_read_and_sorted(parsed: Page) -> None:
    tags = Counter(tag for tag, _ in parsed.tags)
    assert tags["table"] == tags["caption"] == 11
    heads = [found for tag, found in parsed.tags if tag == "th"]
    assert all(found["scope"] in ("col", "row") for found in heads)
    assert tags["button"] == sum(found["scope"] == "col" for found in heads)


def test_figures_say_what_they_show_and_come_with_their_data(parsed: Page, report: page.Report) -> None:
    charts = [found for tag, found in parsed.tags if tag == "img"]
    alternatives = [panel.alt for chart in report.charts for panel in chart.panels]
    assert [found["alt"] for found in charts] == alternatives
    for found in charts:
        kind, _, content = found["src"].partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ElementTree.fromstring(base64.b64decode(content)).tag.endswith("svg")
    names = [found["download"] for tag, found in parsed.tags if tag == "a" and "download" in found]
    assert names == [f"{chart.key}.csv" for chart in report.figures]
    assert [chart.key for chart in report.figures] == [
        "scatter",
        "forest",
        "influence",
        "subpools",
        "metrics",
        "regret",
    ]
    read = pd.read_csv(io.StringIO(report.charts[0].csv))
    pd.testing.assert_frame_equal(read, report.charts[0].data.reset_index(drop=True), check_dtype=False)


def test_an_augmentation_has_one_mark_in_every_figure(report: page.Report) -> None:
    """Of two pages with different rows, in another order, and of figures of scores beside students."""
    others = marks_of(["./augs.py:snow", "timm:rand-m9", "mixup:alpha=0.2", *AUGS[4::-1]])
    assert {name: others[name] for name in AUGS[:5]} == {name: report.charts[0].marks[name] for name in AUGS[:5]}
    few = analyse(published_frame()[lambda frame: frame["aug"].isin(["mixup", "cutmix", "cutout"])], resamples=99)
    marks = page.build(few).charts[0].marks
    every = page.build(analyse(published_frame(), resamples=99)).charts[0].marks
    assert marks == {name: every[name] for name in marks}
    assert every["cutmix_pick_T"] == marks_of(["cutmixpick:by=teacher_entropy"])["cutmixpick:by=teacher_entropy"]


def test_shapes_and_colours_tell_augmentations_apart() -> None:
    marks = marks_of([str(place) for place in range(70)])
    assert len(set(marks.values())) == 70


def test_how_numbers_were_made_is_said(report: page.Report, study: tuple[str, str]) -> None:
    made = "\n".join(f"{name}: {text}" for name, text in report.provenance)
    for wanted in ("dametric report", "a" * 64, "c" * 64, "f" * 64, "seed 3", "seeds 0, 1", study[0], "scipy "):
        assert wanted in made


def test_the_same_material_makes_the_same_page(report: page.Report, text: str) -> None:
    assert report.html() == text


def test_the_published_points_make_a_report_without_runs() -> None:
    frame = published_frame()
    report = page.build(analyse(frame[frame["unit"].str.startswith("cifar100")], resamples=99))
    parsed = Page(report.html())
    assert report.runs is None
    assert "the scores have no errors" in parsed.text
    assert "Pearson 0.9581, Spearman 0.9667, Kendall 0.8889" in report.charts[0].panels[0].alt
    cells = dict(parsed.row("cifar100/wrn_40_2/wrn_16_2", "0.9581"))
    assert {"0.9581", "0.9667", "0.8889"} <= cells.keys()
    units = next(table for chart in report.charts for table in chart.tables if table.key == "units")
    assert "Metric" not in units.columns
    assert units.caption.endswith("; metric: t_stddev")
    keys = [chart.key for chart in report.charts]
    assert keys == ["scatter", "forest", "influence", "subpools", "beyond", "regret"]  # no rivals to compare with


def test_the_ending_says_what_is_written(material: Analysis, tmp_path: Path) -> None:
    for name, start in (("a.html", "<!DOCTYPE html>"), ("a.md", "# Which")):
        dametric.report(material, tmp_path / name, quiet=True)
        content = (tmp_path / name).read_text(encoding="utf-8")
        assert content.startswith(start)
        assert len(content) > 4000


def test_markdown_escapes_names(report: page.Report) -> None:
    text = report.markdown()
    assert "<script>" not in text
    assert "price$\\_\\{1\\}$\\|\\`b\\`" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) > 60


def test_what_cannot_be_is_said_in_one_line(
    study: tuple[str, str], material: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (study, {"output": "report.docx"}, "end it in .html or .md"),
        (study, {"output": "report.pdf"}, "print that from a browser"),
        (study, {"output": "report.html", "format": "pdf"}, "print that from a browser"),
        (study, {"output": "r.html", "format": "htm"}, "did you mean html"),
        (study, {"output": "r.html", "metrics": ["t_stdev"]}, "did you mean t_stddev"),
        (["nowhere.json"], {"output": "r.html"}, "there is no nowhere.json"),
        ((), {"output": "r.html"}, "this needs a score file"),
        (study, {"output": "r.html", "published": True}, "give no files with it"),
        (study, {"output": ".", "format": "html"}, "is a folder"),
        (study, {"figures": "f", "format": "html"}, "format is of the report"),
        (study, {"figures": "svg"}, "takes a folder, no format"),
        (study, {"figures": __file__}, "is a file"),
        (material, {"output": "r.html", "only": "temperature=4"}, "give only to correlate"),
        (material, {"output": "r.html", "charts": "./none.py:chart"}, "there is no file"),
        (material, {"output": "r.html", "charts": [lambda analysis: 3]}, "returned a int"),
    ]
    for source, options, words in wrong:
        with pytest.raises(UsageError, match=words) as caught:
            dametric.report(source, quiet=True, **options)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []


def test_the_ledger_of_the_fixture_is_one_that_is_read(study: tuple[str, str]) -> None:
    assert set(load_runs(study[1])["student"]) == set(STUDENTS)


def test_figures_alone_are_files_for_a_paper(material: Analysis, tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    dametric.report(material, figures=folder, quiet=True)
    keys = ("scatter", "forest", "influence", "subpools", "metrics", "regret")
    assert {path.name for path in folder.iterdir()} == {
        f"{k}.{kind}" for k in keys for kind in ("png", "svg", "pdf", "csv")
    }
    for key in keys:
        with Image.open(folder / f"{key}.png") as picture:
            width = picture.size[0] / 300
            assert picture.info["dpi"][0] == pytest.approx(300, abs=0.1)
        svg = ElementTree.parse(folder / f"{key}.svg").getroot()
        assert (folder / f"{key}.pdf").read_bytes().startswith(b"%PDF")
        points = float(svg.attrib["width"].removesuffix("pt"))
        assert width == pytest.approx(points / 72, abs=0.01)
        assert width in (pytest.approx(3.5, abs=0.01), pytest.approx(7.0, abs=0.01))
        assert not pd.read_csv(folder / f"{key}.csv").empty


def test_figures_are_the_same_for_the_same_material(report: page.Report) -> None:
    chart = report.charts[1]
    for kind in ("svg", "pdf", "png"):
        assert rendered(chart, kind) == rendered(chart, kind)


def test_markdown_has_its_figures_beside_it(material: Analysis, tmp_path: Path) -> None:
    dametric.report(material, tmp_path / "my report.md", quiet=True)
    text = (tmp_path / "my report.md").read_text(encoding="utf-8")
    named = re.findall(r"\]\((my%20report-figures/[a-z]+\.(?:svg|csv))\)", text)
    assert len(named) == 12
    assert all((tmp_path / unquote(name)).is_file() for name in named)


def test_noise_is_told_only_where_it_is_known(report: page.Report, material: Analysis) -> None:
    noise = next(chart for chart in report.charts if chart.key == "noise")
    (table,) = noise.tables
    assert noise.panels == ()
    for row, about in zip(table.rows, material.of_metric.values(), strict=True):
        values = dict(zip(table.columns, (cell.value for cell in row), strict=True))
        assert about.york is not None
        assert about.noise.disattenuated is not None
        assert about.noise.expected_tau is not None
        assert values["York slope"] == about.york.slope.statistic
        assert values["Disattenuated"] == about.noise.disattenuated.statistic
        assert values["Expected tau-b"] == about.noise.expected_tau.statistic
    bare = material.study.frame.assign(score_se=np.nan, test_loss_se=np.nan)
    without = page.build(analyse(replace(material.study, frame=bare), metrics=["t_stddev"], resamples=99))
    assert "noise" not in [chart.key for chart in without.charts]
    assert "York" not in without.html()


def test_all_units_together_say_how_much_they_differ(parsed: Page, material: Analysis) -> None:
    pooling = material.pooling["t_stddev"]
    row = parsed.row("Pearson, random-effects mean")
    assert row[-1][0].startswith(f"I² {100 * pooling.random_effects.pearson.i2:.0f} %")
    assert row[1][1] == str(pooling.random_effects.pearson.mean.statistic)
    listed = parsed.row("One fixed list for all units, tau-b")
    assert listed[1][1] == str(pooling.baselines.fixed_order.statistic)
    for unit, found in material.comparisons[0].williams.items():
        assert parsed.row("t_entropy", unit)[2][1] == str(found.statistic)
    last = material.partial[-1]
    assert parsed.row("fixed list", last.what, "all units")[-1][0] == last.result.note


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "chart.py"


def test_a_chart_of_the_users_own_is_on_the_page(material: Analysis) -> None:
    built = dametric.report(material, charts=f"{EXAMPLE}:spread", quiet=True)
    own = built.charts[-1]
    assert own.key == "spread"
    assert f"## {own.title}" in built.markdown()
    assert own.data["spread"].tolist() == pytest.approx(
        [np.ptp(rows["test_loss"]) for _, rows in material.rows[material.rows["metric"] == "t_stddev"].groupby("unit")]
    )
    assert len(dametric.report(material, charts=[spread_of_example()], quiet=True).charts) == len(built.charts)


def spread_of_example() -> Any:
    from dametric.base.user_code import load_object

    return load_object(f"{EXAMPLE}:spread", "chart")


def test_a_chart_of_the_package_is_one_file(
    material: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in a folder of charts is on the page at its place, without a line anywhere else."""
    from dametric.reports import charts

    code = EXAMPLE.read_text(encoding="utf-8").replace("def spread(", "def chart(") + "\n\nPLACE = 15\n"
    (tmp_path / "dummy.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(charts, "__path__", [*charts.__path__, str(tmp_path)])
    built = page.build(material)
    assert [chart.key for chart in built.charts[:3]] == ["scatter", "spread", "forest"]
    sys.modules.pop("dametric.reports.charts.dummy")
