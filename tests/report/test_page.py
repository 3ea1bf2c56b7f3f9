"""The report: what is said is what was found, whatever the names are, and the page loads nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import textwrap
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
from matplotlib.figure import Figure, SubFigure
from PIL import Image

from dametric import stats
from dametric.commands import report as command
from dametric.errors import UsageError
from dametric.records.runs import Run, load_runs
from dametric.report import formats, page
from dametric.report.advice import advise, lead
from dametric.report.cells import Cell, Table
from dametric.report.charts.forest import forest_rows
from dametric.report.drawing import WORD, marks_of
from dametric.report.material import Material
from dametric.report.sheets import rendered
from dametric.report.typeset import HEIGHT, Block, flow, tabular

HOSTILE = "<script>alert('x')</script>"
AUGS = ("identity", "crop+flip", "cutout", "mixup", "cutmix", HOSTILE, "price$_{1}$|`b`", "\u72ac --> &amp;")
STUDENTS = ("resnet8", "wrn_16_1")
VOID = {"meta", "link", "br", "img", "input", "hr"}
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
def material(study: tuple[str, str]) -> Material:
    frame = command.table_of(study, False)
    found = stats.analyse(frame, confirmatory=["t_stddev"], resamples=199)
    return Material(frame, found, *command._sources(study), command="dametric report")


@pytest.fixture(scope="module")
def report(material: Material) -> page.Report:
    return page.build(material)


@pytest.fixture(scope="module")
def text(report: page.Report) -> str:
    return formats.html(report)


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


def test_every_name_is_there_as_it_is(text: str, parsed: Page, material: Material) -> None:
    assert HOSTILE not in text
    for aug in AUGS:
        assert aug in parsed.text
    assert all(unit in parsed.text for unit in material.found["units"])
    said = [sentence for sentence in material.found["verdict"] if sentence != material.found["cost"]]
    assert len(said) == len(material.found["verdict"]) - 1
    assert all(sentence in parsed.text for sentence in said)


def test_the_page_opens_with_what_to_take(parsed: Page, report: page.Report, material: Material) -> None:
    assert report.lead[0] == "Use identity: in all 2 units it has the best t_stddev (lower is better)."
    assert report.lead[1].startswith(
        "How sure: the score tells the best apart from all others at 95 % in 0 of 2 units."
    )
    assert report.lead[2].startswith("What it costs to be wrong: the augmentation with the best score has")
    assert parsed.text.index(report.lead[0]) < parsed.text.index(material.found["verdict"][0])
    advice = advise(material)
    assert [one.choice for one in advice] == ["identity"] * 2
    assert [one.tied for one in advice] == [("crop+flip",)] * 2
    for one in advice:
        rows = material.frame[(material.frame["unit"] == one.unit) & (material.frame["metric"] == "t_stddev")]
        losses = rows.set_index("aug")["test_loss"]
        assert one.cost == pytest.approx(losses["identity"] - losses.min())
        assert one.tied_cost == pytest.approx(losses[["identity", "crop+flip"]].max() - losses.min())
        assert one.random_cost == pytest.approx(losses.mean() - losses.min())


def test_one_unit_is_answered_in_words(material: Material) -> None:
    one = advise(material)[0]
    frame = material.frame[material.frame["unit"] == one.unit]
    found = stats.analyse(frame, confirmatory=["t_stddev"], resamples=99)
    words = page.build(replace(material, frame=frame, found=found)).lead
    assert words[0] == "Use identity: of 8 augmentations it has the best t_stddev, 0.01 ± 0.0004 (lower is better)."
    assert words[1].startswith("How sure: the score does not tell it apart at 95 % from crop+flip (1 of 7 others).")
    p = found["confirmatory"][0]["families"]["p_holm"]
    assert f"(p = {p:.2g})" in words[1]
    assert ("do not show that" in words[1]) == (p > 0.05)
    assert words[2].startswith("What it costs to be wrong: here nothing: no other augmentation gave a lower test loss.")
    assert f"costs {one.tied_cost:.4f} nats." in words[2]
    assert f"at random costs {one.random_cost:.4f}" in words[2]


def test_units_that_disagree_are_answered_in_words(material: Material) -> None:
    first = advise(material)[0]
    named = [replace(first, best_scored=names) for names in (("a",), ("a", "b"), ("c",), ("c", "d"), ("a",))]
    better = "(lower is better)."
    assert (
        lead(material, named)[0]
        == f"Use a: in 3 of 5 units it has the best t_stddev, in the others c in 1, c or d in 1 {better}"
    )
    assert lead(material, named[:4])[0].startswith("No augmentation is best in most of 4 units: take in each the one")
    assert "a in 1, a or b in 1, c in 1, c or d in 1" in lead(material, named[:4])[0]
    assert lead(material, named[:2])[0] == f"Use a: in all 2 units it has the best t_stddev {better}"


def test_a_lowest_loss_does_not_hide_an_accuracy_below_the_best(material: Material) -> None:
    one = replace(advise(material)[0], cost=0.0, points=0.85)
    assert one.price.startswith("here nothing: no other augmentation gave a lower test loss, but accuracy is 0.85 perc")


def test_equal_scores_are_named_together() -> None:
    frame = stats.published_frame()
    frame = frame[frame["unit"] == "imagenet/resnet34/resnet18"]
    found = stats.analyse(frame, resamples=99)
    one = advise(Material(frame, found))[0]
    assert (one.choice, one.tied) == ("cutmix_pick_S or cutmix_pick_T", None)
    described = found["units"][one.unit]["t_stddev"]
    assert one.choice.split(" or ") == described["best"]["by_score"]
    assert one.cost == described["regret"][0]["loss"] > 0
    assert one.price.startswith(f"its students' test loss is {one.cost:.4f} nats above the lowest, that of cutmix.")


def test_a_metric_that_is_better_when_higher_is_read_that_way(material: Material) -> None:
    found = stats.analyse(material.frame, confirmatory=["t_entropy"], resamples=99)
    other = replace(material, found=found)
    table = material.scores[0].table
    assert {one.choice for one in advise(other)} == {table.loc[table["t_entropy"].idxmax(), "aug"]}
    rows = forest_rows(found, "t_entropy")
    pooled = [row for row in rows if row["pooled"]]
    assert all(row["value"] < 0 for row in rows)
    assert pooled[1]["low"] < pooled[1]["value"] < pooled[1]["high"] < 0


def test_numbers_of_the_tables_are_those_of_the_analysis(parsed: Page, material: Material) -> None:
    for unit, metrics in material.found["units"].items():
        for metric, about in metrics.items():
            values = {value for _, value in parsed.row(unit, metric)}
            found = about["coefficients"]["test_loss"]
            wanted = [found[name][field] for name in WORD for field in ("statistic", "pvalue")]
            wanted += [found["pearson"]["low"], about["ols"]["r_squared"], about["regret"][0]["loss"]]
            assert {str(float(number)) for number in wanted} <= values
    first = material.found["confirmatory"][0]
    values = {value for _, value in parsed.row("t_stddev", "lower", "yes")}
    assert {str(first["result"]["statistic"]), str(first["p_holm"])} <= values


def test_every_run_is_there(parsed: Page, material: Material) -> None:
    assert material.runs is not None
    assert len(material.runs) == 32
    for run in material.runs.to_dict("records"):
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
    charts = [found for tag, found in parsed.tags if tag == "svg" and found.get("role") == "img"]
    alternatives = [panel.alt for chart in report.charts for panel in chart.panels]
    assert [found["aria-label"] for found in charts] == alternatives
    assert all(found["aria-hidden"] for tag, found in parsed.tags if tag == "svg" and "role" not in found)
    names = [found["download"] for tag, found in parsed.tags if tag == "a" and "download" in found]
    assert names == [f"{chart.key}.csv" for chart in report.charts]
    assert [chart.key for chart in report.charts] == ["scatter", "forest", "influence", "subpools", "metrics", "regret"]
    read = pd.read_csv(io.StringIO(report.charts[0].csv))
    pd.testing.assert_frame_equal(read, report.charts[0].data.reset_index(drop=True), check_dtype=False)


def test_shapes_and_colours_tell_augmentations_apart() -> None:
    marks = marks_of([str(place) for place in range(70)])
    assert len(set(marks.values())) == 70


def test_how_numbers_were_made_is_said(report: page.Report, study: tuple[str, str]) -> None:
    made = "\n".join(f"{name}: {text}" for name, text in report.provenance)
    for wanted in ("dametric report", "a" * 64, "c" * 64, "f" * 64, "seed 3", "seeds 0, 1", study[0], "scipy "):
        assert wanted in made


def test_the_same_material_makes_the_same_page(report: page.Report, text: str) -> None:
    assert formats.html(report) == text


def test_the_published_points_make_a_report_without_runs() -> None:
    frame = stats.published_frame()
    frame = frame[frame["unit"].str.startswith("cifar100")]
    found = stats.analyse(frame, resamples=99)
    report = page.build(Material(frame, found))
    parsed = Page(formats.html(report))
    assert report.runs is None
    assert "the scores have no errors" in parsed.text
    assert "Pearson 0.9581, Spearman 0.9667, Kendall 0.8889" in report.charts[0].panels[0].alt
    cells = dict(parsed.row("cifar100/wrn_40_2/wrn_16_2", "0.9581"))
    assert {"0.9581", "0.9667", "0.8889"} <= cells.keys()
    units = next(table for section in report.sections for table in section.tables if table.key == "units")
    assert "Metric" not in units.columns
    assert units.caption.endswith("; metric: t_stddev")
    keys = [section.key for section in report.sections]
    assert keys == ["scatter", "forest", "influence", "subpools", "beyond", "regret"]  # no rivals to compare with


@pytest.mark.parametrize(("name", "start"), [("a.html", b"<!DOCTYPE html>"), ("a.md", b"# Which"), ("a.pdf", b"%PDF")])
def test_the_ending_says_what_is_written(study: tuple[str, str], tmp_path: Path, name: str, start: bytes) -> None:
    command.run(study, str(tmp_path / name), published=False, metrics=["t_stddev"], format=None)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start)
    assert len(content) > 4000


def test_markdown_escapes_names(report: page.Report) -> None:
    text = formats.markdown(report)
    assert "<script>" not in text
    assert "price$\\_\\{1\\}$\\|\\`b\\`" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) > 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"output": "report.docx"}, "end it in .html, .md or .pdf"),
        ({"format": "htm"}, "did you mean html"),
        ({"metrics": ["t_stdev"]}, "did you mean t_stddev"),
        ({"paths": ["nowhere.json"]}, "there is no nowhere.json"),
        ({"paths": []}, "this needs a score file"),
        ({"published": True}, "give no files with it"),
        ({"output": "."}, "is a folder"),
        ({"output": None}, "nothing to write"),
        ({"output": None, "figures": "f", "format": "pdf"}, "--format is of the report"),
        ({"figures": "svg"}, "takes a folder, not a format"),
        ({"figures": __file__}, "is a file"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    study: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = {"paths": study, "output": "r.html", "published": False, "metrics": None, "format": None, **arguments}
    asked["format"] = "html" if asked["output"] == "." else asked["format"]
    with pytest.raises(UsageError, match=said) as caught:
        command.run(asked.pop("paths"), asked.pop("output"), **asked)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_ledger_of_the_fixture_is_one_that_is_read(study: tuple[str, str]) -> None:
    assert set(load_runs(study[1])["student"]) == set(STUDENTS)


def test_figures_alone_are_files_for_a_paper(study: tuple[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    command.run(study, None, published=False, metrics=["t_stddev"], format=None, figures=str(folder))
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


def test_markdown_has_its_figures_beside_it(study: tuple[str, str], tmp_path: Path) -> None:
    command.run(study, str(tmp_path / "my report.md"), published=False, metrics=["t_stddev"], format=None)
    text = (tmp_path / "my report.md").read_text(encoding="utf-8")
    named = re.findall(r"\]\((my%20report-figures/[a-z]+\.(?:svg|csv))\)", text)
    assert len(named) == 12
    assert all((tmp_path / unquote(name)).is_file() for name in named)


def test_every_row_of_every_table_is_in_the_pdf(report: page.Report) -> None:
    """Of the blocks that the pages are made of: their texts, in lines."""
    for table in (report.take, *(table for section in report.sections for table in section.tables), report.runs):
        assert table is not None
        words: list[str] = []
        for block in tabular(table):
            assert block.height <= HEIGHT
            place = Figure(figsize=(8, 8)).subfigures(1, 1)
            block.draw(place)
            words += [text.get_text().replace("\n", " ") for text in place.texts]
        said = " ".join(" ".join(words).split())
        for row in table.rows:
            for cell in row:
                assert all(part in said for part in textwrap.wrap(" ".join(cell.text.split()), 34)), cell.text


def test_a_long_table_fills_several_pages_and_nothing_is_cut() -> None:
    rows = tuple((Cell(f"row {i}", f"row {i}"), Cell(str(i), float(i))) for i in range(500))
    blocks = list(tabular(Table("long", "A long table", ("Name", "Number"), rows)))
    pages = list(flow(blocks))
    assert len(pages) >= 9
    assert sum(block.height for block in blocks) <= len(pages) * HEIGHT


def test_what_belongs_together_is_not_parted() -> None:
    def nothing(place: SubFigure) -> None:
        place.text(0, 0, "x")

    blocks = [Block(4, nothing), Block(1, nothing, keep=True), Block(3, nothing), Block(1, nothing)]
    pages = list(flow(blocks))
    drawn = [sum(bool(part.texts) for part in page.subfigs) for page in pages]
    assert drawn == [1, 3]


def test_noise_is_told_only_where_it_is_known(report: page.Report, material: Material) -> None:
    noise = next(section for section in report.sections if section.key == "noise")
    (table,) = noise.tables
    assert noise.chart is None
    for row, (_, metrics) in zip(table.rows, material.found["units"].items(), strict=True):
        about = metrics["t_stddev"]
        values = dict(zip(table.columns, (cell.value for cell in row), strict=True))
        assert values["York slope"] == about["york"]["slope"]["statistic"]
        assert values["Disattenuated"] == about["noise"]["disattenuated"]["statistic"]
        assert values["Expected tau-b"] == about["noise"]["expected_tau"]["statistic"]
    bare = material.frame.assign(score_se=np.nan, test_loss_se=np.nan)
    found = stats.analyse(bare, confirmatory=["t_stddev"], resamples=99)
    without = page.build(replace(material, frame=bare, found=found))
    assert "noise" not in [section.key for section in without.sections]
    assert "York" not in formats.html(without)


def test_all_units_together_say_how_much_they_differ(parsed: Page, material: Material) -> None:
    pooling = material.found["pooling"]["t_stddev"]
    row = parsed.row("Pearson, random-effects mean")
    assert row[-1][0].startswith(f"I² {100 * pooling['random_effects']['pearson']['i2']:.0f} %")
    assert row[1][1] == str(pooling["random_effects"]["pearson"]["mean"]["statistic"])
    listed = parsed.row("One fixed list for all units, tau-b")
    assert listed[1][1] == str(pooling["baselines"]["fixed_order"]["statistic"])
    for unit, found in material.found["comparisons"][0]["williams"].items():
        assert parsed.row("t_entropy", unit)[2][1] == str(found["statistic"])
    last = material.found["partial"][-1]
    assert parsed.row("fixed list", last["what"], "all units")[-1][0] == last["result"]["note"]
