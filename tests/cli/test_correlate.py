"""``dametric correlate`` and ``plan`` as a user calls them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from dametric.analysis.numbers import with_error
from dametric.records.runs import Run as RunFolder
from dametric.records.scores import Scores

Run = Callable[..., Any]
AUGS = ("identity", "flip", "cutout", "autoaugment", "mixup", "cutmix")
# Coefficients as printed in the figures of Wang et al. 2022, arXiv 2012.02909.
PRINTED = {
    "cifar100/wrn_40_2/wrn_16_2": (0.9581, 0.9667, 0.8889),
    "cifar100/vgg13/vgg8": (0.9742, 1.0, 1.0),
    "cifar100/resnet56/resnet20": (0.9404, 0.9333, 0.8333),
    "cifar100/ResNet50/vgg8": (0.9697, 0.9833, 0.9444),
}


def write_scores(path: Path, values: dict[str, float], sha256: str = "abc") -> Path:
    rows = []
    for name, value in sorted(values.items(), key=lambda item: item[1]):
        metric = {"value": value, "se": 0.001, "low": value - 0.002, "high": value + 0.002, "direction": "lower"}
        gap = {"to": "cutmix", "value": 0.0, "se": 0.0, "low": 0.0, "high": 0.0}
        turned = {"value": -value, "low": -value - 0.002, "high": -value + 0.002, "direction": "higher"}
        metrics = {"t_stddev": metric, "t_entropy": {**metric, **turned}}
        about = {"tied_with_best": False, "parameters": [], "rows": 64}
        rows.append({"aug": name, "metrics": metrics, "difference": gap, **about})
    config = {"metrics": ["t_stddev", "t_entropy"], "batches": 4, "teacher": {"sha256": sha256, "arch": "resnet20"}}
    return Scores(rows, {**config, "data": {"name": "digits"}}, {}).write(path)


def write_runs(
    root: Path, losses: dict[str, list[float]], sha256: str = "abc", temperature: float | None = None
) -> Path:
    for aug, values in losses.items():
        for seed, loss in enumerate(values):
            recipe: dict[str, Any] = {"aug": aug, "seed": seed, "epochs": 2, "base_aug": "crop+flip"}
            if temperature is not None:
                recipe["objective"] = {"ce": 0.1, "raw": 0.9, "aug": 0.9, "temperature": temperature}
            config = {"kind": "distill", "recipe": recipe}
            row = {"epoch": 2, "test_loss": loss, "test_top1": 1 - loss / 3, "test_top5": 1.0, "test_ece": 0.1}
            about = {
                "teacher": {"arch": "resnet20", "sha256": sha256},
                "student": {"arch": "resnet8"},
                "data": {"name": "digits"},
            }
            run = RunFolder.of(root, {**config, "teacher": sha256}, f"resnet8-{aug}")
            record = {"id": run.folder.name, "status": "finished", "config": config, "about": about}
            run.write_record({**record, "last": row, "best": row, "timing": {"seconds": 1.0}})
    return root


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Path]:
    """Six augmentations whose score orders their students but for one pair, three seeds each."""
    values = {name: 0.06 - 0.01 * place for place, name in enumerate(AUGS)}
    noise = np.random.default_rng(0).normal(0, 0.002, (len(AUGS), 3))
    means = [0.60, 0.50, 0.52, 0.40, 0.30, 0.20]
    losses = {name: [mean + float(e) for e in row] for name, mean, row in zip(AUGS, means, noise, strict=True)}
    return write_scores(tmp_path / "scores.json", values), write_runs(tmp_path / "runs", losses)


def test_the_published_points_give_the_printed_coefficients(run: Run) -> None:
    said = run("correlate", "--published", "--json")
    assert said.code == 0
    for unit, printed in PRINTED.items():
        found = said.document["units"][unit]["t_stddev"]["coefficients"]["test_loss"]
        for name, value in zip(("pearson", "spearman", "kendall"), printed, strict=True):
            assert round(found[name]["statistic"], 4) == value
    wrn = said.document["units"]["cifar100/wrn_40_2/wrn_16_2"]["t_stddev"]["coefficients"]["test_loss"]
    assert round(100 * wrn["kendall"]["pvalue"], 2) == 0.02
    assert len(said.document["units"]) == 10


def test_the_published_points_as_tables_with_the_pooled_answer_and_its_baselines(run: Run) -> None:
    said = run("correlate", "--published", "--all")
    assert said.code == 0
    assert said.err == ""
    for unit, printed in PRINTED.items():
        line = next(line for line in said.out.splitlines() if line.startswith(unit))
        assert all(f"{value:.4f}" in line for value in printed)
    assert "t_stddev predicts the students' test loss" in said.out
    assert "fixed list" in said.out


def test_the_answer_comes_first_and_one_table_has_the_regressions(run: Run, study: tuple[Path, Path]) -> None:
    said = run("correlate", *study)
    lines = said.out.splitlines()
    assert lines[0].startswith("Use cutmix: of 6 augmentations it has the best t_stddev, 0.01 ± 0.001")
    assert [line.partition(":")[0] for line in lines[1:3]] == ["How sure", "What it costs to be wrong"]
    place = lines.index("")
    assert all(line.startswith("* ") for line in lines[3:place])
    heads, *rows, note = lines[place + 1 :]
    assert heads.split() == [
        "metric",
        "n",
        "slope",
        "of",
        "loss",
        "R²",
        "tau-b",
        "p",
        "slope",
        "of",
        "accuracy",
        "R²",
        "tau-b",
        "p",
    ]
    assert [row.split()[0] for row in rows] == ["t_stddev", "t_entropy"]
    unit = run("correlate", *study, "--json").document["units"]["resnet20 -> resnet8, digits"]
    for row, about in zip(rows, unit.values(), strict=True):
        for line, endpoint in ((about["ols"], "test_loss"), (about["ols_top1"], "test_top1")):
            kendall = about["coefficients"][endpoint]["kendall"]
            slope = with_error(line["slope"]["statistic"], line["slope_se"])
            tau, p = f"{kendall['statistic']:.2f}", f"{kendall['pvalue']:.2g}"
            assert all(f" {shown}" in row for shown in (slope, f"{line['r_squared']:.2f}", tau, p))
    assert "--all" in note
    everything = run("correlate", *study, "--all").out
    assert everything.startswith(said.out)


def test_scores_and_runs_give_tables_and_the_answer_in_words(run: Run, study: tuple[Path, Path]) -> None:
    said = run("correlate", *study, "--all")
    assert said.code == 0
    assert said.err == ""
    primary = next(line for line in said.out.splitlines() if line.startswith("t_stddev  ") and "+" in line)
    assert primary.split()[1:4] == ["+", "0.87", "0.0083"]  # one discordant pair of fifteen; 6 of 720 orders
    assert "resnet20 -> resnet8, digits" in said.out
    assert "exploratory" in said.out
    assert "t_stddev predicts" in said.out


def test_json_is_one_document_and_names_what_was_fixed_in_advance(run: Run, study: tuple[Path, Path]) -> None:
    first = run("correlate", *study, "--json").document
    assert [entry["metric"] for entry in first["confirmatory"]] == ["t_stddev"]
    assert {entry["metric"] for entry in first["exploratory"]["rows"]} == {"t_stddev", "t_entropy"}
    both = run("correlate", *study, "--json", "-m", "t_entropy", "-m", "t_stddev").document
    assert [entry["metric"] for entry in both["confirmatory"]] == ["t_entropy", "t_stddev"]
    entropy = both["confirmatory"][0]
    assert entropy["expected"] == -1
    assert entropy["result"]["statistic"] == pytest.approx(-13 / 15)
    assert entropy["result"]["pvalue"] == pytest.approx(6 / 720)
    assert entropy["p_holm"] == pytest.approx(12 / 720)


def test_csv_holds_every_coefficient_and_latex_is_a_table(run: Run, study: tuple[Path, Path], tmp_path: Path) -> None:
    said = run("correlate", *study, "--csv", tmp_path / "all.csv", "--latex")
    assert said.code == 0
    assert said.out.count(r"\midrule") == 1
    assert r"t\_stddev" in said.out
    with open(tmp_path / "all.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["block"] for row in rows} == {"confirmatory", "exploratory", "unit (exploratory)"}
    confirmatory = next(row for row in rows if row["block"] == "confirmatory")
    assert float(confirmatory["statistic"]) == pytest.approx(13 / 15)


def test_two_teachers_are_two_units_and_ledgers_may_overlap(run: Run, study: tuple[Path, Path], tmp_path: Path) -> None:
    values = {name: 0.06 - 0.01 * place for place, name in enumerate(AUGS)}
    other = write_scores(tmp_path / "other.json", values, "def")
    more = {name: [0.9 - 0.1 * place, 0.91 - 0.1 * place] for place, name in enumerate(AUGS)}
    write_runs(tmp_path / "runs" / "more", more, "def")
    found = run("correlate", *study, other, tmp_path / "runs" / "more", "--json").document
    assert list(found["units"]) == ["resnet20 -> resnet8, digits", "resnet20 #2 -> resnet8, digits"]
    assert all(unit["t_stddev"]["n"] == 6 for unit in found["units"].values())
    assert found["confirmatory"][0]["result"]["statistic"] == pytest.approx((13 / 15 + 1) / 2)


def test_it_says_when_the_data_cannot_answer(run: Run, tmp_path: Path) -> None:
    values = {"cutmix": 0.01, "flip": 0.02, "identity": 0.03}
    losses = {"cutmix": [0.5, 0.9], "flip": [0.6, 0.81], "identity": [0.91, 0.5]}
    said = run(
        "correlate", write_scores(tmp_path / "scores.json", values), write_runs(tmp_path / "runs", losses), "--json"
    )
    assert said.code == 0
    assert said.document["answerable"] is False
    words = " ".join(said.document["verdict"])
    assert "fewer than 6 augmentations" in words
    assert "fewer than 3 families" in words
    assert "seed noise" in words


def test_what_cannot_be_correlated(refused: Callable[..., str], study: tuple[Path, Path], tmp_path: Path) -> None:
    scores, runs = study
    assert "folder of runs" in refused("correlate", scores)
    assert "score file" in refused("correlate", runs)
    assert "score file" in refused("correlate")
    assert "nothing.json" in refused("correlate", tmp_path / "nothing.json", runs)
    assert "did you mean t_stddev" in refused("correlate", *study, "-m", "t_stdev")
    assert "choose one" in refused("correlate", *study, "--json", "--latex")
    assert "brings its own points" in refused("correlate", "--published", scores)
    (tmp_path / "broken.json").write_text("{")
    assert "not JSON" in refused("correlate", tmp_path / "broken.json", runs)
    stranger = write_scores(tmp_path / "stranger.json", dict.fromkeys(AUGS, 0.1), "of another teacher")
    assert "same teacher" in refused("correlate", stranger, runs)


def test_a_plan_says_what_a_study_can_detect(run: Run) -> None:
    said = run("plan", "--rho", "0.9", "--augs", "18", "--seeds", "3", "--json")
    assert said.code == 0
    assert said.document["power"] > 0.95
    small = run("plan", "--rho", "0.7", "--augs", "9", "--seeds", "1", "--seed-sd", "0.0001", "--json").document
    draw = np.random.default_rng(1).normal(size=(1000, 2, 9))
    pairs = [(x, 0.7 * x + math.sqrt(1 - 0.49) * e) for x, e in draw]
    tests = [kendalltau(x, y, alternative="greater", method="exact").pvalue <= 0.05 for x, y in pairs]
    assert small["power"] == pytest.approx(np.mean(tests), abs=0.05)
    words = run("plan", "--rho", "0.9", "--augs", "18", "--seeds", "3")
    assert "power" in words.out
    assert "Kendall's tau" in words.out


@pytest.mark.parametrize("wrong", [("--rho", "1.5"), ("--augs", "0"), ("--alpha", "2"), ("--seeds", "0")])
def test_a_plan_that_cannot_be(refused: Callable[..., str], wrong: tuple[str, str]) -> None:
    usual = {"--rho": "0.9", "--augs": "9", "--seeds": "3"} | {wrong[0]: wrong[1]}
    refused("plan", *(word for pair in usual.items() for word in pair))


def test_every_metric_and_endpoint_has_a_table(run: Run, study: tuple[Path, Path]) -> None:
    said = run("correlate", *study, "--all")
    heads = [line for line in said.out.splitlines() if " and " in line and "Pearson" in line]
    assert [line.split("  ")[0] for line in heads] == [
        "t_stddev and test loss",
        "t_entropy and test loss",
        "t_stddev and top-1",
        "t_entropy and top-1",
    ]
    document = run("correlate", *study, "--json").document
    (unit,) = document["units"].values()
    rows = [line for line in said.out.splitlines() if line.startswith("resnet20 -> resnet8, digits")]
    pairs = ((m, e) for e in ("test_loss", "test_top1") for m in ("t_stddev", "t_entropy"))
    for line, (metric, endpoint) in zip(rows, pairs, strict=True):
        found = unit[metric]["coefficients"][endpoint]
        for name in ("pearson", "spearman", "kendall", "weighted"):
            assert f"{found[name]['statistic']:.4f}" in line


def test_rivals_are_compared_with_holm(run: Run, study: tuple[Path, Path]) -> None:
    said = run("correlate", *study, "--all")
    (entry,) = run("correlate", *study, "--json").document["comparisons"]
    lines = said.out.splitlines()
    line = lines[next(place for place, line in enumerate(lines) if line.startswith("t_stddev against")) + 1]
    assert line.startswith("t_entropy")
    assert f"{entry['swap']['statistic']:.2f}" in line
    assert f"{entry['p_holm']:.2g}" in line
    assert " none " in line  # the two order alike: nothing to resample
    assert "nan" not in said.out


def test_latex_and_tables_show_any_name(run: Run, tmp_path: Path) -> None:
    names = ["[bold]a_b", "50%", "c&d#1", "{e}$x$", "f~g^h", r"i\j"]
    values = {name: 0.06 - 0.01 * place for place, name in enumerate(names)}
    scores = write_scores(tmp_path / "scores.json", values)
    text = scores.read_text(encoding="utf-8").replace('"resnet20"', '"[red]net_20#50%&{x}^~"')
    scores.write_text(text, encoding="utf-8")
    runs = write_runs(tmp_path / "runs", {name: [0.5 - 0.05 * place, 0.51] for place, name in enumerate(names)})
    assert "[red]net_20#50%&{x}^~ -> resnet8, digits" in run("correlate", scores, runs, "--all").out
    latex = run("correlate", scores, runs, "--latex").out
    assert r"[red]net\_20\#50\%\&\{x\}\textasciicircum{}\textasciitilde{} $\to$ resnet8, digits &" in latex
    assert run("report", scores, runs, "-o", tmp_path / "r.md").code == 0
    assert r"\[bold\]a\_b" in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_a_report_and_its_figures_by_their_command(run: Run, study: tuple[Path, Path], tmp_path: Path) -> None:
    said = run("report", *study, "-o", tmp_path / "r.html", "-f", tmp_path / "figures")
    assert said.code == 0
    assert said.out == ""
    assert said.err.startswith("report ...")
    assert said.err.endswith(
        f"wrote {tmp_path / 'r.html'} and 5 figures as PNG, SVG, PDF and CSV in {tmp_path / 'figures'}\n"
    )
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert len(list((tmp_path / "figures").iterdir())) == 20
    assert f"--figures {tmp_path / 'figures'}" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert run("report", *study, "-q", "-o", tmp_path / "r.html").err == ""


def test_a_report_without_a_place_to_go(refused: Callable[..., str], study: tuple[Path, Path], tmp_path: Path) -> None:
    assert "give a file with -o" in refused("report", *study)
    assert "takes a folder" in refused("report", *study, "-f", "png")
    line = refused("report", *study, "-o", tmp_path / "r.pdf")
    assert "write it as .html and print that from a browser" in line


def test_a_plan_says_the_weakest_correlation_that_is_found(run: Run) -> None:
    said = run("plan", "--rho", "0.9", "--augs", "18", "--seeds", "3")
    document = run("plan", "--rho", "0.9", "--augs", "18", "--seeds", "3", "--json").document
    assert f"detectable     true correlations from {document['detectable']:.2f} on" in said.out
    assert 0.5 < document["detectable"] < 0.75


# One pair by several recipes


@pytest.fixture
def recipes(study: tuple[Path, Path]) -> tuple[Path, Path]:
    """The study's students at temperature 4, and others at 1 for which the order is the other way round."""
    scores, runs = study
    for temperature in (4.0, 1.0):
        means = [0.6 - 0.07 * place for place in range(len(AUGS))][:: 1 if temperature == 4 else -1]
        losses = {name: [mean, mean + 0.001] for name, mean in zip(AUGS, means, strict=True)}
        write_runs(runs.parent / "recipes", losses, temperature=temperature)
    return scores, runs.parent / "recipes"


def test_students_of_several_recipes_are_kept_apart_and_said(run: Run, recipes: tuple[Path, Path]) -> None:
    said = run("correlate", *recipes, "--json")
    assert said.code == 0
    taus = {
        unit: found["t_stddev"]["coefficients"]["test_loss"]["kendall"]["statistic"]
        for unit, found in said.document["units"].items()
    }
    names = [f"resnet20 -> resnet8 (temperature {t}), digits" for t in (4, 1)]
    assert taus == {names[0]: pytest.approx(1), names[1]: pytest.approx(-1)}, "the mean of both would be 0"
    (line,) = said.err.splitlines()
    assert (
        line
        == "runs of one student differ in temperature (1, 4): kept apart; to choose, for example: --only temperature=1"
    )


def test_one_recipe_is_chosen(run: Run, recipes: tuple[Path, Path], tmp_path: Path) -> None:
    said = run("correlate", *recipes, "--only", "temperature=4", "--json")
    assert said.err == ""
    (unit,) = said.document["units"]
    assert unit == "resnet20 -> resnet8, digits"
    page = tmp_path / "page.md"
    assert run("report", *recipes, "--only", "temperature=4", "--only", "aug=*", "-o", page, "-q").code == 0
    text = page.read_text()
    assert "temperature 1" not in text
    assert "--only temperature=4" in text, "the command of the page is the one that makes it again"
    for wrong, words in (("temperature=3", "temperature is 1, 4 here"), ("temp=4", "temperature")):
        refused = run("correlate", *recipes, "--only", wrong)
        assert refused.code == 2
        assert words in refused.err
        assert refused.err.count("\n") == 1
    refused = run("correlate", "--published", "--only", "temperature=4")
    assert refused.code == 2
    assert "--only" in refused.err
