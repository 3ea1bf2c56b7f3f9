"""``dametric score``: what a user types, and what they get."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dametric.augment import PAPER
from dametric.base.numbers import Number, aligned
from dametric.records.scores import Scores

Run = Callable[..., Any]
TEACHER_METRICS = ["t_stddev", "t_stddev_rms", "t_stddev_aug", "t_entropy", "t_gini", "t_conf", "information_kept"]


def values(document: dict[str, Any], metric: str = "t_stddev") -> dict[str, float]:
    return {row["aug"]: row["metrics"][metric]["value"] for row in document["scores"]}


def table_rows(out: str) -> list[str]:
    """The lines of the table between its header and the sentence below it."""
    header, *lines = out.splitlines()
    assert header.startswith("augmentation")
    end = next(i for i, line in enumerate(lines) if " batches of " in line)
    return [line.rstrip() for line in lines[:end]]


def test_no_terminal_is_too_narrow_for_a_number(score: Run, untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--student", untrained, "--batch-size", 16, "--batches", 3)
    wide = table_rows(score(*options).out)
    monkeypatch.setenv("TERM", "dumb")  # no bold letters
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for columns in (20, 60, 80, 400):
        monkeypatch.setenv("COLUMNS", str(columns))
        narrow = table_rows(score(*options).out)
        for whole, line in zip(wide, narrow, strict=True):
            assert "…" not in line
            kept = line.split()
            assert whole.split()[: len(kept)] == kept  # less at the end, and nothing cropped
            assert len(kept) >= 4  # the augmentation, and its first metric with an error
            assert (kept == whole.split()) == (columns == 400)
        asked = score("--metric", "t_stddev", "--metric", "t_conf", "--metric", "t_gini", "--batches", 2).out
        assert "t_gini" in asked.splitlines()[0]  # what was asked for stays
        assert "…" not in asked


def test_names_in_brackets_are_no_markup(score: Run, tmp_path: Path) -> None:
    (tmp_path / "augs[red].py").write_text("def same(images):\n    return images\n")
    aug = f"{tmp_path}/augs[red].py:same"
    assert table_rows(score("--aug", aug, "--batches", 2).out)[0].startswith(aug)


# The shortest command


def test_an_augmentation_and_a_checkpoint_of_ours_are_all_that_is_needed(run: Run, teacher: Path) -> None:
    said = run("score", "--aug", "cutmix", "--teacher", teacher, "--rel-se", 0.2)
    assert said.code == 0
    (row,) = table_rows(said.out)
    assert row.startswith("cutmix")
    assert "±" in row
    assert "digits train" in said.out
    assert "seed 0" in said.out


def test_the_usual_table_has_the_affinity_where_images_are_held_out(score: Run) -> None:
    for more, shown in (((), False), (("--held-out", 100), True)):
        said = score("--batches", 2, *more)
        assert said.code == 0, said.err
        header = next(line for line in said.out.splitlines() if line.startswith("augmentation"))
        assert ("affinity_acc" in header) is shown


def test_what_was_read_and_how_good_the_teacher_is_stand_on_stderr(score: Run, teacher: Path) -> None:
    said = score("--accuracy")
    assert "teacher: read 'model' of teacher.pth" in said.err
    assert "resnet8" in said.err
    assert "10 classes" in said.err
    (accuracy,) = [line for line in said.err.splitlines() if "top-1" in line]
    assert accuracy.startswith("teacher: ")
    assert accuracy.endswith("on 355 test images")
    assert float(accuracy.split()[1]) > 70
    assert "WARNING" not in said.err
    assert not any(word in said.out for word in ("top-1", "read", "scoring", "..."))


def test_an_untrained_teacher_is_warned_of_loudly_even_when_quiet(score: Run, untrained: Path) -> None:
    for quiet in ([], ["-q"]):
        said = score("--accuracy", "--teacher", untrained, *quiet)
        assert said.code == 0
        (warning,) = [line for line in said.err.splitlines() if "WARNING" in line]
        assert "near chance (10.00 %)" in warning
        assert "--mean" in warning
        assert "WARNING" not in said.out


def test_quiet_means_nothing_on_stderr(score: Run, digits: Any, tmp_path: Path) -> None:
    alone = tmp_path / "alone.npz"  # without images to test on
    rows = slice(0, 200)
    np.savez(alone, x_train=digits.images[rows].permute(0, 2, 3, 1).numpy(), y_train=digits.labels[rows].numpy())
    (tmp_path / "augs.py").write_text("def shares(images):\n    return images.flip(-1).float() / 255\n")
    own = f"{tmp_path}/augs.py:shares"
    for more in ((), ("--data", alone), ("-a", own, "--base-aug", own)):
        said = score("--accuracy", "-q", *more)
        assert said.code == 0, said.err
        assert said.err == ""
        assert table_rows(said.out)


# The table


def test_the_table_goes_from_best_to_worst_with_errors_and_marks_of_ties(score: Run, tmp_path: Path) -> None:
    augs = ["identity", "flip", "crop+flip", "crop:padding=5", "cutout", "mixup", "cutmix"]
    said = score(*(word for aug in augs for word in ("--aug", aug)), "-o", tmp_path / "s.json", "--batches", 6)
    scores = Scores.read(tmp_path / "s.json")
    rows = table_rows(said.out)
    assert [row.split()[0] for row in rows] == [row["aug"] for row in scores.scores]
    assert sorted(row.split()[0] for row in rows) == sorted(augs)
    found = [row["metrics"]["t_stddev"]["value"] for row in scores.scores]
    assert found == sorted(found)
    ties = 0
    for place, (line, row) in enumerate(zip(rows, scores.scores, strict=True)):
        name, value, sign, error, *rest = line.split()
        assert sign == "±"
        assert float(value) == pytest.approx(row["metrics"]["t_stddev"]["value"], abs=float(error))
        found = row["metrics"]["t_stddev"]
        assert float(error) == pytest.approx(found["se"], rel=0.06), "± is a standard error, of few batches too"
        if place == 0:
            assert rest[0] == "best"
            continue
        assert float(rest[0]) == pytest.approx(row["difference"]["value"], abs=float(rest[2]))
        assert ("= best" in line) == row["tied_with_best"], name
        ties += row["tied_with_best"]
    assert ties, "two crops of nearly one size cannot be told apart with six batches"
    assert "not distinguishable from the best (95 %)" in said.out
    (reach,) = re.findall(r"error \(6 batches hardly .* reaches ([\d.]+) of it\); '= best'", " ".join(said.out.split()))
    values = [row["metrics"]["t_stddev"] for row in scores.scores]
    halves = [(each["high"] - each["low"]) / 2 / each["se"] for each in values]
    assert float(reach) == pytest.approx(max(halves), abs=0.06)
    assert float(reach) > 2.4, "six batches: Student's t with five degrees of freedom"


def test_the_table_says_what_it_was_computed_from(score: Run) -> None:
    said = score("--batch-size", 48, "--draw-batches", 3, "--seed", 9)
    assert "4 batches of 48 (digits train)" in said.out
    assert "n = 144 images" in said.out
    assert "per sample" in said.out
    assert "float32" in said.out
    assert "seed 9" in said.out


def test_the_table_is_readable_on_a_narrow_page(score: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for row in table_rows(score().out):
        assert "±" in row
        assert "…" not in row


# JSON


def check(document: dict[str, Any], metrics: list[str]) -> None:
    """The shape that `dametric.records.scores` documents."""
    assert set(document) == {"dametric_scores", "scores", "config", "versions"}
    assert document["dametric_scores"] == 1
    best = document["scores"][0]["aug"]
    for row in document["scores"]:
        assert {"aug", "metrics", "difference", "tied_with_best", "parameters", "rows"} <= set(row)
        assert list(row["metrics"]) == metrics
        for metric in row["metrics"].values():
            assert metric["low"] <= metric["value"] <= metric["high"]
            assert metric["se"] >= 0
            assert metric["direction"] in ("lower", "higher", "open")
            assert metric["estimator"] in ("images", "units")
            assert math.isfinite(metric["plugin"])
            assert isinstance(metric["blocks"], int)
        assert row["difference"]["to"] == best
        assert {"value", "se", "low", "high"} <= set(row["difference"])
        assert isinstance(row["tied_with_best"], bool)
        assert isinstance(row["rows"], int)
        assert isinstance(row["parameters"], list)
    assert document["scores"][0]["difference"]["value"] == 0
    assert document["scores"][0]["tied_with_best"] is True
    wanted = {"n", "G", "b", "w", "temperature", "per", "partner", "base_aug", "seed", "dtype", "data", "teacher"}
    assert wanted | {"metrics", "protocol", "batches", "seconds", "chunk", "mean", "std"} <= set(document["config"])
    assert {"dametric", "torch", "python"} <= set(document["versions"])


def test_json_is_one_document_and_nothing_else_on_stdout(score: Run, teacher: Path, digits: Any) -> None:
    said = score("--json", "--accuracy")
    document = said.document
    check(document, TEACHER_METRICS)
    config = document["config"]
    assert (config["n"], config["G"], config["b"], config["w"], config["batches"]) == (160, 5, 32, 0.5, 4)
    assert (config["per"], config["base_aug"], config["dtype"], config["seed"]) == ("sample", "crop+flip", "float32", 0)
    expected = {"name": "digits", "split": "train", "images": 1442, "fingerprint": digits.fingerprint}
    assert expected.items() <= config["data"].items()
    assert config["teacher"]["arch"] == "resnet8"
    assert config["teacher"]["file"] == "teacher.pth"
    assert len(config["teacher"]["sha256"]) == 64
    assert config["teacher"]["clean"]["images"] == 355
    assert config["teacher"]["clean"]["top1"] > 0.7
    assert {row["aug"]: row["rows"] for row in document["scores"]} == {"identity": 128, "cutmix": 128}


def test_the_file_holds_what_json_prints(score: Run, tmp_path: Path) -> None:
    target = tmp_path / "new" / "scores.json"
    said = score("--json", "-o", target)
    assert target.read_text(encoding="utf-8") == said.out
    assert [path.name for path in target.parent.iterdir()] == ["scores.json"]
    assert json.loads(Scores.read(target).to_json()) == said.document


def test_an_old_file_is_replaced_whole(score: Run, tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    target.write_text("x" * 1_000_000)
    assert score("-o", target, "-q").code == 0
    assert Scores.read(target).metrics == TEACHER_METRICS


def test_parameters_of_an_augmentation_are_recorded_resolved(score: Run) -> None:
    document = score("--json", "--aug", "cutout:length=5+mixup:alpha=0.3", "--aug", "crop").document
    parameters = {row["aug"]: row["parameters"] for row in document["scores"]}
    assert parameters["crop"][0]["padding"] == 4
    assert [operation["operation"] for operation in parameters["cutout:length=5+mixup:alpha=0.3"]] == [
        "Cutout",
        "Mixup",
    ]
    assert parameters["cutout:length=5+mixup:alpha=0.3"][0]["length"] == 5
    assert parameters["cutout:length=5+mixup:alpha=0.3"][1]["alpha"] == 0.3


# Pictures


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_picture_is_what_its_ending_says(score: Run, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"scores.{kind}"
    assert score("--picture", target).code == 0
    content = target.read_bytes()
    if kind == "svg":
        assert ElementTree.fromstring(content).tag.endswith("svg")
    else:
        assert content.startswith({"png": b"\x89PNG\r\n", "pdf": b"%PDF-"}[kind])
    assert len(content) > 5000


def test_an_ending_may_be_in_capitals(score: Run, tmp_path: Path) -> None:
    assert score("--picture", tmp_path / "SCORES.PNG").code == 0
    assert (tmp_path / "SCORES.PNG").read_bytes().startswith(b"\x89PNG")


# The same and not the same


def test_one_seed_gives_one_answer_and_another_seed_another(score: Run) -> None:
    first, again, other = (score("--json", "--seed", seed).document for seed in (3, 3, 4))
    assert [row["metrics"] for row in first["scores"]] == [row["metrics"] for row in again["scores"]]
    assert [row["difference"] for row in first["scores"]] == [row["difference"] for row in again["scores"]]
    assert values(first) != values(other)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_the_chunk_does_not_change_the_answer(score: Run, chunk: int) -> None:
    augs = ["--aug", "cutmix", "--aug", "crop+flip", "--aug", "cutmixpick"]
    usual, other = (score("--json", *augs, *more).document for more in ([], ["--chunk", chunk]))
    for metric in TEACHER_METRICS:
        assert values(other, metric) == pytest.approx(values(usual, metric), rel=1e-5)


def test_an_augmentation_scores_the_same_alone_and_in_company(score: Run) -> None:
    alone = score("--json", "--aug", "mixup").document
    together = score("--json", "--aug", "identity", "--aug", "mixup", "--aug", "cutout").document
    assert values(alone)["mixup"] == pytest.approx(values(together)["mixup"], rel=1e-6)


def test_the_order_and_repetition_of_augmentations_do_not_matter(score: Run) -> None:
    first = score("--json", "-a", "flip", "-a", "mixup").document
    second = score("--json", "-a", "mixup", "-a", "flip", "-a", "mixup").document
    assert [row["aug"] for row in first["scores"]] == [row["aug"] for row in second["scores"]]
    assert values(first) == pytest.approx(values(second), rel=1e-6)


# Which augmentations


def test_paper_without_a_student_leaves_out_one_and_says_so(score: Run) -> None:
    said = score("--json", "--aug", "paper", "--batches", 2)
    assert sorted(values(said.document)) == sorted(set(PAPER) - {"cutmixpick:by=student_entropy"})
    assert "cutmixpick:by=student_entropy" in said.err
    assert "--student" in said.err


def test_paper_with_a_student_is_nine_and_has_cross_entropies(score: Run, untrained: Path) -> None:
    said = score("--json", "--aug", "paper", "--batches", 3, "--student", untrained)
    document = said.document
    check(document, [*TEACHER_METRICS, "ce_mean", "ce_std", "ce_cov"])
    assert sorted(values(document)) == sorted(PAPER)
    assert document["config"]["student"]["file"] == "untrained.pth"
    assert "left out" not in said.err
    assert "student: read 'model' of untrained.pth" in said.err


def test_a_normalisation_given_for_the_teacher_is_not_the_student_s(
    score: Run, teacher: Path, untrained: Path, tmp_path: Path
) -> None:
    own = torch.load(untrained, weights_only=True)
    told = ("--json", "--batches", 2, "--mean", "0.4,0.4,0.4", "--std", "0.5,0.5,0.5")
    config = score(*told, "--student", untrained).document["config"]
    assert (config["mean"], config["std"]) == ([0.4] * 3, [0.5] * 3)
    assert (config["student_mean"], config["student_std"]) == (own["mean"], own["std"])
    torch.save(own["model"], tmp_path / "silent.pth")  # which does not say its own: it is taken for the teacher's
    config = score(*told, "--student", tmp_path / "silent.pth").document["config"]
    assert (config["student_mean"], config["student_std"]) == ([0.4] * 3, [0.5] * 3)


def test_paper_and_others_together_are_each_there_once(score: Run) -> None:
    document = score("--json", "--aug", "paper", "--aug", "cutmix", "--aug", "rrc", "--batches", 2).document
    assert len(document["scores"]) == 9
    assert "rrc" in values(document)


def test_a_function_of_the_user_s_own(score: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "augs.py").write_text("def upside_down(images):\n    return images.flip(-2)\n")
    document = score("--json", "--aug", "./augs.py:upside_down", "--aug", "identity").document
    assert set(values(document)) == {"./augs.py:upside_down", "identity"}
    assert values(document)["identity"] != values(document)["./augs.py:upside_down"]


def test_a_function_that_changes_nothing_scores_as_identity(
    score: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "augs.py").write_text("def same(images):\n    return images\n")
    document = score("--json", "--aug", "./augs.py:same", "--aug", "identity", "--metric", "t_entropy").document
    found = values(document, "t_entropy")
    assert found["./augs.py:same"] == pytest.approx(found["identity"], rel=1e-6)


# How


def test_the_reference_protocol_draws_batches(score: Run) -> None:
    config = (document := score("--json", "--protocol", "reference", "--batches", 20).document)["config"]
    assert (config["protocol"], config["per"], config["batches"]) == ("reference", "batch", 20)
    assert {row["metrics"]["t_stddev"]["estimator"] for row in document["scores"]} == {"units"}


def test_parameters_can_be_shared_by_a_batch(score: Run) -> None:
    sample, batch = (score("--json", "--aug", "cutmix", "--per", per).document for per in ("sample", "batch"))
    assert batch["config"]["per"] == "batch"
    assert batch["scores"][0]["metrics"]["t_stddev"]["estimator"] == "units"
    assert sample["scores"][0]["metrics"]["t_stddev"]["estimator"] == "images"
    assert values(sample) != values(batch)


@pytest.mark.parametrize("batches", [2, 7])
def test_batches_are_counted(score: Run, batches: int) -> None:
    document = score("--json", "--batches", batches).document
    assert document["config"]["batches"] == batches
    assert document["config"]["rel_se"] is None
    assert all(row["rows"] == 32 * batches for row in document["scores"])


def test_scoring_stops_when_it_is_precise_enough_but_not_before_twenty_batches(score: Run) -> None:
    document = score("--json", "--rel-se", 0.5).document
    assert document["config"]["batches"] == 20
    assert document["config"]["rel_se"] == 0.5
    assert document["config"]["rel_se_reached"] is True
    errors = [row["metrics"]["t_stddev"] for row in document["scores"]]
    assert all(metric["se"] <= 0.5 * metric["value"] for metric in errors)


def test_a_precision_that_was_not_reached_is_said(score: Run) -> None:
    said = score("--rel-se", 0.0001, "--max-batches", 20)
    assert said.code == 0
    assert "(0.01 %) was not reached" in said.out
    assert "--max-batches" in said.out


@pytest.mark.parametrize("more", [["--aug", "cutmixpick"], ["--per", "batch"]])
def test_numbers_that_two_batches_cannot_give_are_refused_or_explained(score: Run, more: list[str]) -> None:
    """A spread between batches has no jackknife error from two of them; what is not known is never called a tie."""
    said = score("--aug", "mixup", "--aug", "identity", "--batches", 2, *more)
    if said.code == 2:
        assert "--batches" in said.err
        return
    assert not [row for row in table_rows(said.out) if "nan" in row and "best" in row]
    assert "nan" not in said.out or "nan:" in said.out + said.err, "nan is explained in a line"


def test_the_first_metric_orders_the_table_by_its_own_direction(score: Run) -> None:
    augs = [word for aug in ("identity", "mixup", "cutout", "autoaugment") for word in ("-a", aug)]
    entropy = score("--json", *augs, "-m", "t_entropy", "-m", "t_stddev").document
    check(entropy, ["t_entropy", "t_stddev", "information_kept"])
    found = list(values(entropy, "t_entropy").values())
    assert found == sorted(found, reverse=True), "higher is better"
    confidence = score("--json", *augs, "-m", "t_conf").document
    check(confidence, ["t_conf", "information_kept"])
    found = list(values(confidence, "t_conf").values())
    assert found == sorted(found), "lower is better"
    said = score(*augs, "-m", "t_gini", "-m", "t_conf")
    assert said.out.split()[:2] == ["augmentation", "t_gini"]


def test_a_metric_without_raw_images_is_guarded_which_the_table_says(score: Run) -> None:
    said = score("-m", "t_conf", "--batches", 6)
    assert "information_kept" in said.out.splitlines()[0]
    assert "information_kept: of the first 4 batches alone" in " ".join(said.out.split())
    for more in (("-m", "t_stddev"), ("-m", "t_conf", "-m", "information_kept")):
        assert "batches alone" not in score(*more, "--batches", 6).out


def test_every_metric_that_was_asked_for_is_in_the_table(score: Run) -> None:
    header = score("-m", "t_gini", "-m", "t_conf", "-m", "t_stddev_rms").out.splitlines()[0]
    assert all(name in header.split() for name in ("t_gini", "t_conf", "t_stddev_rms"))


def test_no_base_augmentation(score: Run) -> None:
    none, identity, usual = (
        score("--json", *m).document for m in (["--base-aug", "none"], ["--base-aug", "identity"], [])
    )
    assert none["config"]["base_aug"] == "identity"
    assert values(none) == values(identity)
    assert values(none) != values(usual)


def test_the_normalisation_can_be_given(score: Run) -> None:
    document = score("--json", "--mean", "0.5,0.4,0.3", "--std", "0.2, 0.3, 0.25").document
    assert document["config"]["mean"] == [0.5, 0.4, 0.3]
    assert document["config"]["std"] == [0.2, 0.3, 0.25]
    assert values(document) != values(score("--json").document)


def test_weights_and_temperature_are_passed_on(score: Run) -> None:
    usual = score("--json").document
    hot = score("--json", "--temperature", 4, "--raw-weight", 0).document
    assert (hot["config"]["temperature"], hot["config"]["w"]) == (4.0, 0.0)
    assert values(hot, "t_entropy")["cutmix"] > values(usual, "t_entropy")["cutmix"]
    for row in hot["scores"]:
        assert row["metrics"]["t_stddev"]["value"] == pytest.approx(row["metrics"]["t_stddev_aug"]["value"], rel=1e-6)


def test_other_images_can_be_scored(score: Run) -> None:
    assert score("--json", "--split", "test").document["config"]["data"]["images"] == 355


# Teachers of others


def test_bare_weights_need_the_data_and_are_recognised(
    score: Run, teacher: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    content = torch.load(teacher, weights_only=True)
    torch.save(content["model"], tmp_path / "bare.pth")
    said = score("--json", "--teacher", tmp_path / "bare.pth", "--data", "digits")
    assert said.document["config"]["teacher"]["arch"] == "resnet8"
    assert "recognised by names and shapes" in said.err
    assert values(said.document) == pytest.approx(values(score("--json").document), rel=1e-6)
    line = refused("--teacher", tmp_path / "bare.pth", command=score)
    assert "--data" in line


def test_an_architecture_of_the_user_s_own(score: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\n"
        "def tiny(num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(256, num_classes))\n"
    )
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(256, 10)
    )
    torch.save(net.state_dict(), tmp_path / "tiny.pt")
    said = score("--json", "--teacher", "tiny.pt", "--arch", "./nets.py:tiny", "--data", "digits", "--accuracy")
    assert said.document["config"]["teacher"]["arch"] == "./nets.py:tiny"
    assert "bare weights of tiny.pt" in said.err


def test_a_teacher_of_other_classes_is_refused_unless_that_is_meant(
    score: Run, untrained: Path, digits: Any, tmp_path: Path, refused: Callable[..., str]
) -> None:
    import numpy as np

    few = digits.labels < 3
    np.savez(
        tmp_path / "three.npz",
        images=digits.images[few].permute(0, 2, 3, 1).numpy(),
        labels=digits.labels[few].numpy(),
    )
    line = refused("--data", tmp_path / "three.npz", "--accuracy", command=score)
    assert "10 classes" in line
    assert "3" in line
    assert "--no-accuracy" in line
    assert score("--data", tmp_path / "three.npz", "--no-accuracy").code == 0


# Defaults from a file


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    def config(text: str) -> Path:
        path = tmp_path / "score.yaml"
        path.write_text(text)
        return path

    return config


def test_a_file_gives_defaults_and_flags_win(score: Run, teacher: Path, config: Callable[[str], Path]) -> None:
    path = config("aug: [identity, flip]\nbatches: 3\nseed: 5\nbatch-size: 32\naccuracy: false\nmetric: t_gini\n")
    document = score("--json", "-c", path).document
    assert set(values(document, "t_gini")) == {"identity", "flip"}
    assert document["config"]["metrics"] == ["t_gini", "information_kept"]
    assert (document["config"]["batches"], document["config"]["seed"], document["config"]["b"]) == (3, 5, 32)
    document = score("--json", "-c", path, "--seed", 6, "--aug", "mixup", "--batches", 2).document
    assert set(values(document, "t_gini")) == {"mixup"}
    assert (document["config"]["batches"], document["config"]["seed"], document["config"]["b"]) == (2, 6, 32)


def test_everything_can_stand_in_the_file(run: Run, teacher: Path, config: Callable[[str], Path]) -> None:
    path = config(
        f"aug: cutmix\nteacher: {teacher}\nbatches: 2\naccuracy: no\njson: true\nquiet: yes\ndtype: float32\n"
    )
    said = run("score", "-c", path)
    assert said.code == 0
    assert said.err == ""
    assert set(values(said.document)) == {"cutmix"}


def test_lists_of_numbers_are_written_as_yaml_writes_them(score: Run, config: Callable[[str], Path]) -> None:
    path = config("aug: flip\nbatches: 2\nmean: [0.5, 0.4, 0.3]\nstd: [0.2, 0.3, 0.25]\n")
    assert score("--json", "-c", path).document["config"]["mean"] == [0.5, 0.4, 0.3]


def test_an_empty_file_changes_nothing(score: Run, config: Callable[[str], Path]) -> None:
    path = config("# nothing\n")
    document = score("--json", "-c", path, "--aug", "flip", "--batches", 2).document
    assert document["config"]["seed"] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batchs: 3", "did you mean batches"),
        ("batch_size: 3", "did you mean batch-size"),
        ("temprature: 3", "did you mean temperature"),
        ("- aug", "expected lines of 'option: value', got list"),
        ("aug: [flip\nseed: 1", "is not YAML"),
        ("\tseed: 1", "is not YAML"),
        ("seed: many", "--seed"),
        ("seed: -1", "--seed"),
        ("seed: [1, 2]", "--seed"),
        ("batches: 1", "--batches"),
        ("lazy: perhaps", "--lazy"),
        ("protocol: referenc", "did you mean reference"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_a_file_that_cannot_be_is_one_line(
    refused: Callable[..., str], score: Run, config: Callable[[str], Path], text: str, said: str
) -> None:
    assert said in refused("-c", config(text), "--aug", "flip", command=score)


def test_files_that_cannot_be_read_are_one_line(refused: Callable[..., str], score: Run, tmp_path: Path) -> None:
    assert "cannot read" in refused("-c", tmp_path / "none.yaml", "--aug", "flip", command=score)
    assert "cannot read" in refused("-c", tmp_path, "--aug", "flip", command=score)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    assert "binary.yaml" in refused("-c", tmp_path / "binary.yaml", "--aug", "flip", command=score)


def test_errors_that_are_rounding_do_not_widen_a_column() -> None:
    """Black images have no information, to within 1e-16, and so have identity's all."""
    numbers = [Number(v, s) for v, s in ((0.7381, 0.0072), (1.0, 0.0), (-3e-17, 2e-17), (math.nan, math.nan))]
    assert aligned(numbers) == ["0.7381 ± 0.0072", "1.0000", "0.0000", "nan"]


def test_adding_needs_no_setting_again_and_joins_into_the_file(
    score: Run, run: Run, refused: Callable[..., str], teacher: Path, tmp_path: Path
) -> None:
    file, both, whole = (tmp_path / f"{name}.json" for name in ("scores", "both", "whole"))
    settings = ("--seed", 5, "--metric", "t_entropy", "--base-aug", "flip")
    score("-a", "identity", *settings, "-o", file)
    score("-a", "identity", "-a", "cutmix", *settings, "-o", whole)
    before = file.read_bytes()
    said = run("score", "-a", "cutmix", "-t", teacher, "--add", file, "-o", both)
    assert said.code == 0, said.err
    assert {row.split()[0] for row in table_rows(said.out)} == {"identity", "cutmix"}
    assert file.read_bytes() == before
    assert Scores.read(both).scores == Scores.read(whole).scores
    assert run("score", "-a", "cutmix", "-t", teacher, "--add", file, "--seed", 5).code == 0
    assert Scores.read(file).scores == Scores.read(whole).scores
    message = refused("score", "-a", "cutmix", "-t", teacher, "--add", file, "--seed", 0)
    assert "was made with --seed 5: leave --seed 0 out, or score all augmentations anew" in message


def test_groups_and_costs_are_columns_where_they_are_asked_for(score: Run, run: Run, teacher: Path) -> None:
    plain = score().out
    assert "group" not in plain.splitlines()[0]
    assert "images/s" not in plain
    said = run("score", "-a", "flip", "-a", "cutmix", "-t", teacher, "--resolve", "--max-batches", 30, "--cost", "-q")
    header, *rows = said.out.splitlines()[:3]
    assert header.split() == [
        "augmentation",
        "t_stddev",
        "difference",
        "to",
        "best",
        "group",
        "images/s",
        "step",
        *header.split()[8:],
    ]
    assert all(re.search(r" (a|b|ab) +[\d,]+ +\d+\.\d\d ", row) for row in rows), "each under its head"
    assert "groups without a letter in common are told apart (95 % for all 1 pairs and 2 looks together)" in said.out
    assert (
        "images/s: in a second of the CPU, augmenting alone; step: of training a student of the teacher's" in said.out
    )
