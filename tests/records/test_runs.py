"""The ledger: what a run's folder holds, told again by plain torch, and many of them as a table."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import dametric
from dametric import cli
from dametric.base.files import sha256
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.models import build, load_checkpoint
from dametric.records import runs as ledger
from dametric.records.documents import plain
from dametric.records.recipes import OPTIONS, SETTING, options
from dametric.records.record import RecordedData, RecordedRecipe
from dametric.records.runs import (
    HELD_OUT,
    MEASURED,
    SCHEMA,
    BusyError,
    Run,
    code_version,
    find_runs,
    load_runs,
    read_record,
    run_id,
    summary_of,
)
from dametric.sweeps.reading import KEYS
from dametric.training import Objective, Recipe, distill, train

MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.3, 0.2)
PLAIN = {"device": "cpu", "dtype": "float32", "quiet": True}
TEACHER_EPOCHS, EPOCHS = 2, 3
COLUMNS = [
    *("id", "status", "kind", "teacher", "teacher_sha256", "student", "data", "aug", "seed", "epochs", "epoch", "step"),
    *MEASURED,
    "best_epoch",
    *(f"best_{name}" for name in MEASURED),
    *HELD_OUT,
    *("seconds", "folder"),
    *(name for name in OPTIONS if name != "epochs"),
    *SETTING,
    *("aug_spelling", "aug_code"),
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(count: int, seed: int, split: str) -> ImageSet:
    """Ten kinds of noisy 8 x 8 patterns, normalised by numbers that are not the set's own."""
    kinds = torch.randint(0, 256, (10, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (count,), generator=draw)
    noisy = kinds[labels] + 60 * torch.randn((count, 3, 8, 8), generator=draw)
    names = [f"kind {number}" for number in range(10)]
    pixels = noisy.clamp(0, 255).to(torch.uint8)
    return ImageSet.from_tensors(pixels, labels, classes=names, mean=MEAN, std=STD, name="patterns", split=split)


@pytest.fixture(scope="module")
def data() -> tuple[ImageSet, ImageSet]:
    return images(130, 1, "train"), images(73, 2, "test")


@dataclass(frozen=True)
class Kept:
    """A teacher and a student of it, in one ledger."""

    root: Path
    teacher: Run
    student: Run


@pytest.fixture(scope="module")
def kept(data: tuple[ImageSet, ImageSet], tmp_path_factory: pytest.TempPathFactory) -> Kept:
    root = tmp_path_factory.mktemp("kept")
    options: dict[str, Any] = {"batch_size": 16, "out": root, **PLAIN}
    teacher = train("resnet8", data, epochs=TEACHER_EPOCHS, seed=4, **options)
    student = distill(teacher.folder / "last.pt", "resnet8", data, "cutmix", epochs=EPOCHS, seed=5, **options)
    return Kept(root, Run(teacher.folder), Run(student.folder))


def record_of(run: Run) -> dict[str, Any]:
    """The record as any reader of JSON sees it: numbers that are not finite are refused."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    return json.loads((run.folder / "record.json").read_text(encoding="utf-8"), parse_constant=refuse)


def table_of(run: Run) -> list[dict[str, str]]:
    with open(run.folder / "history.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# What a folder holds


def test_a_run_is_a_record_a_history_and_a_checkpoint(kept: Kept) -> None:
    for run in (kept.teacher, kept.student):
        assert {name for name in os.listdir(run.folder) if not name.startswith(".")} == {
            "record.json",
            "history.csv",
            "last.pt",
        }


def test_the_record_says_what_was_done(kept: Kept, data: tuple[ImageSet, ImageSet]) -> None:
    record = record_of(kept.student)
    assert record["dametric_run"] == SCHEMA == 1
    assert record["status"] == "finished"
    assert record["error"] is None
    assert record["id"] == run_id(record["config"])
    assert kept.student.folder.name.endswith(f"-{record['id']}")
    config = record["config"]
    assert (config["kind"], config["student"]) == ("distill", "resnet8")
    assert config["data"] == {"train": data[0].fingerprint, "test": data[1].fingerprint}
    assert (config["mean"], config["std"]) == (list(MEAN), list(STD))
    teacher = sha256(kept.teacher.checkpoint)
    assert config["teacher"] == {"arch": "resnet8", "sha256": teacher, "mean": list(MEAN), "std": list(STD)}
    assert config["user_code"] == {}
    recipe = config["recipe"]
    expected = {
        "epochs": EPOCHS,
        "batch_size": 16,
        "lr": 0.05,
        "schedule": "step",
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 5e-4,
        "label_smoothing": 0.0,
        "base_aug": "crop+flip",
        "aug": "cutmix",
        "per": "sample",
        "joint_batch": False,
        "dtype": "float32",
        "seed": 5,
        "steps": None,
        "objective": {"ce": 0.1, "raw": 0.9, "aug": 0.9, "temperature": 4.0},
    }
    assert recipe == expected
    about = record["about"]
    weights = torch.load(kept.student.checkpoint, weights_only=True)["model"]
    learnt = sum(w.numel() for name, w in weights.items() if "running" not in name and "num_batches" not in name)
    assert about["student"] == {"arch": "resnet8", "parameters": learnt}
    assert about["data"] == {"name": "patterns", "train": 130, "test": 73, "classes": 10, "image_size": 8}
    assert about["device"] == "cpu"
    assert about["teacher"]["sha256"] == teacher
    timing = record["timing"]
    assert timing["sessions"] == 1
    seconds = [float(row["seconds"]) for row in table_of(kept.student)]
    assert timing["seconds"] == pytest.approx(sum(seconds), abs=2e-3)
    assert all(value > 0 for value in seconds)
    assert timing["started"] <= timing["finished"]


def test_the_record_of_a_teacher_has_no_teacher(kept: Kept) -> None:
    record = record_of(kept.teacher)
    assert (record["config"]["kind"], record["config"]["teacher"]) == ("train", None)
    assert "teacher" not in record["about"]
    assert "test_agreement" not in record["last"]
    assert record["config"]["recipe"]["objective"]["ce"] == 1.0


def test_the_record_says_what_it_was_made_with(kept: Kept) -> None:
    record = record_of(kept.student)
    assert record["code"] == code_version()
    assert record["code"]["version"] == dametric.__version__
    versions = record["versions"]
    assert versions["torch"] == torch.__version__
    assert versions["numpy"] == np.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["threads"] == 1
    assert versions["chip"]


def test_the_hash_of_the_source_changes_with_any_file_s_name_or_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "dametric"
    shutil.copytree(Path(dametric.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    original = code_version()
    monkeypatch.setattr(ledger, "__file__", str(package / "records" / "runs.py"))
    assert code_version() == original
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "cli.cpython-311.pyc").write_bytes(b"compiled")
    assert code_version() == original
    source = (package / "training" / "loss.py").read_bytes()
    (package / "training" / "loss.py").write_bytes(source + b"# a word\n")
    edited = code_version()
    (package / "training" / "loss.py").write_bytes(source)
    (package / "training" / "loss.py").rename(package / "training" / "loss2.py")
    renamed = code_version()
    assert len({original["sha256"], edited["sha256"], renamed["sha256"]}) == 3


def test_the_history_has_one_row_an_epoch_and_ends_with_the_record_s_numbers(kept: Kept) -> None:
    for run, epochs in ((kept.teacher, TEACHER_EPOCHS), (kept.student, EPOCHS)):
        rows, last = table_of(run), record_of(run)["last"]
        assert [row["epoch"] for row in rows] == [str(number + 1) for number in range(epochs)]
        assert set(rows[-1]) == {*last, "seconds"}
        assert {key: float(value) for key, value in rows[-1].items() if key != "seconds"} == last
        best = max(float(row["test_top1"]) for row in rows)
        first = next(row for row in rows if float(row["test_top1"]) == best)
        assert record_of(run)["best"] == {key: float(value) for key, value in first.items() if key != "seconds"}


def test_the_losses_of_an_epoch_add_up(kept: Kept) -> None:
    for row in table_of(kept.student):
        total = 0.1 * float(row["train_ce"]) + 0.9 * float(row["train_kd_raw"]) + 0.9 * float(row["train_kd_aug"])
        assert float(row["train_loss"]) == pytest.approx(total, rel=1e-6)
        assert min(float(row[name]) for name in ("train_ce", "train_kd_raw", "train_kd_aug")) > 0
    for row in table_of(kept.teacher):
        assert row["train_loss"] == row["train_ce"]
        assert float(row["train_kd_raw"]) == float(row["train_kd_aug"]) == 0


# The numbers, told again


def plain_logits(path: Path, data: ImageSet) -> Tensor:
    """Logits in float64, from nothing but the file and torch."""
    content = torch.load(path, weights_only=True)
    model = build(content["arch"], 10, 8).double().eval()
    model.load_state_dict(content["model"])
    mean, std = (torch.tensor(content[name], dtype=torch.float64).view(1, 3, 1, 1) for name in ("mean", "std"))
    assert isinstance(data.images, Tensor)
    with torch.no_grad():
        return model((data.images.double() / 255 - mean) / std)


def plain_measures(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """The definitions written out, one image at a time."""
    found = {"loss": 0.0, "top1": 0.0, "top5": 0.0}
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        total = sum(math.exp(value - max(row)) for value in row)
        chances = [math.exp(value - max(row)) / total for value in row]
        order = sorted(range(10), key=lambda kind: -row[kind])
        found["loss"] -= math.log(chances[label])
        found["top1"] += order[0] == label
        found["top5"] += label in order[:5]
        bins[math.ceil(15 * max(chances)) - 1].append((max(chances), order[0] == label))
    gaps = [abs(sum(right for _, right in rows) - sum(sure for sure, _ in rows)) for rows in bins]
    return {key: value / len(labels) for key, value in {**found, "ece": sum(gaps)}.items()}


def test_the_record_s_numbers_are_those_of_the_checkpoint(kept: Kept, data: tuple[ImageSet, ImageSet]) -> None:
    _, test = data
    record = record_of(kept.student)
    theirs, ours = plain_logits(kept.teacher.checkpoint, test), plain_logits(kept.student.checkpoint, test)
    for said, logits in (
        ({key.removeprefix("test_"): value for key, value in record["last"].items()}, ours),
        (record["about"]["teacher"]["clean"], theirs),
    ):
        found = plain_measures(logits, test.labels)
        assert said["top1"] == found["top1"]
        assert said["top5"] == found["top5"]
        assert said["loss"] == pytest.approx(found["loss"], rel=1e-5)
        assert said["ece"] == pytest.approx(found["ece"], rel=1e-4)
    assert record["last"]["test_agreement"] == float((ours.argmax(1) == theirs.argmax(1)).double().mean())
    assert 0.1 < record["last"]["test_top1"] < 1, "a network that knows all or nothing proves little"
    assert record["last"]["test_agreement"] != record["last"]["test_top1"]


def test_test_images_are_normalised_as_the_checkpoint_says(data: tuple[ImageSet, ImageSet], tmp_path: Path) -> None:
    """Sets that a user makes of tensors have statistics of their own each; a network has one normalisation."""
    train_set, test = data
    darker = ImageSet.from_tensors(test.images // 3, test.labels, classes=test.classes, name="patterns", split="test")
    done = train("resnet8", (train_set, darker), epochs=1, batch_size=16, out=tmp_path, **PLAIN)
    found = plain_measures(plain_logits(done.folder / "last.pt", darker), darker.labels)
    assert done.record["last"]["test_loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_a_finished_checkpoint_holds_the_network_and_no_more(kept: Kept) -> None:
    content = torch.load(kept.student.checkpoint, weights_only=True)
    assert list(content["model"]) == list(build("resnet8", 10, 8).state_dict())
    state = content.get("state") or {}
    assert not any(isinstance(value, Tensor) and value.numel() for value in state.values())
    assert not state.get("momentum")
    with zipfile.ZipFile(kept.student.checkpoint) as file:
        stored = sum(item.file_size for item in file.infolist() if "/data/" in item.filename)
    assert stored == sum(w.numel() * w.element_size() for w in content["model"].values())


def test_the_checkpoint_reads_like_any_other(kept: Kept, data: tuple[ImageSet, ImageSet]) -> None:
    read = load_checkpoint(kept.student.checkpoint)
    assert (read.arch, read.num_classes, read.image_size) == ("resnet8", 10, 8)
    assert (read.classes, read.data, read.mean, read.std) == (data[1].classes, "patterns", MEAN, STD)
    assert read.extra == {"run": record_of(kept.student)["id"], "epoch": EPOCHS}


# Ids


def test_an_id_is_sixteen_digits_of_the_content_alone() -> None:
    config = {"recipe": {"lr": 0.1, "seed": 3}, "kind": "train"}
    assert run_id(config) == run_id({"kind": "train", "recipe": {"seed": 3, "lr": 0.1}})
    assert len(run_id(config)) == 16
    assert int(run_id(config), 16) >= 0
    others = [{**config, "kind": "distill"}, {**config, "recipe": {"lr": 0.1, "seed": 4}}, {**config, "more": 1}]
    assert len({run_id(config), *map(run_id, others)}) == 4


@pytest.mark.parametrize("name", ["plain", "cut mix/../x:by=y", "größe", "a" * 300, "", "./augs.py:fn"])
def test_a_folder_s_name_is_one_part_of_a_path_with_the_id(tmp_path: Path, name: str) -> None:
    run = Run.of(tmp_path, {"a": 1}, name)
    assert run.folder.parent == tmp_path
    assert run.folder.name.endswith(f"-{run_id({'a': 1})}")
    run.write_record({"id": "x"})
    assert (run.folder / "record.json").exists()


# Records


def entry(**changes: Any) -> dict[str, Any]:
    """A record as ``write_record`` takes it."""
    student, aug, seed = changes.pop("student", "resnet8"), changes.pop("aug", "cutmix"), changes.pop("seed", 0)
    teacher, epochs = changes.pop("teacher", "resnet20"), changes.pop("epochs", 3)
    top1 = changes.pop("top1", 0.5)
    row = {"epoch": epochs, "lr": 0.05, "train_loss": 1.5}
    row |= {"test_loss": 1.25, "test_top1": top1, "test_top5": 0.875, "test_ece": 0.0625}
    about: dict[str, Any] = {"student": {"arch": student, "parameters": 7}, "data": {"name": "patterns"}}
    if teacher:
        about["teacher"] = {"arch": teacher, "sha256": f"hash of {teacher}", "clean": {}}
        row["test_agreement"] = 0.75
    name = "aug" if teacher else "base_aug"
    return {
        "id": run_id({"teacher": teacher, "student": student, "aug": aug, "seed": seed}),
        "status": "finished",
        "error": None,
        "config": {"kind": "distill" if teacher else "train", "recipe": {name: aug, "seed": seed, "epochs": epochs}},
        "about": about,
        "last": row,
        "best": {**row, "epoch": 2, "test_top1": top1 + 0.25},
        "timing": {"seconds": 12.5},
        **changes,
    }


def add(folder: Path, **changes: Any) -> Run:
    run = Run(folder)
    run.write_record(entry(**changes))
    return run


def test_what_is_written_is_read(tmp_path: Path) -> None:
    run = add(tmp_path / "new" / "run", aug="größe→flip", error='x\nwith "quotes" and \udce4')
    record = run.record
    assert record is not None
    assert record["config"]["recipe"]["aug"] == "größe→flip"
    assert record["dametric_run"] == 1
    assert Run(tmp_path / "nothing").record is None


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    run = add(tmp_path, timing={"seconds": math.nan}, last={"test_loss": math.inf})
    record = record_of(run)
    assert record["timing"] == {"seconds": None}
    assert record["last"] == {"test_loss": None}


def test_a_history_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.history() == []
    rows = [
        {"epoch": 1, "lr": 0.1 + 0.2, "test_top1": 1 / 3, "seconds": 0.001},
        {"epoch": 2, "lr": 1e-300, "test_top1": math.nan, "seconds": 12345.678},
    ]
    run.write_history(rows)
    again = run.history()
    assert again[0] == rows[0]
    assert {key: value for key, value in again[1].items() if key != "test_top1"} == {
        key: value for key, value in rows[1].items() if key != "test_top1"
    }
    assert math.isnan(again[1]["test_top1"])
    assert (tmp_path / "history.csv").read_text().splitlines()[0] == "epoch,lr,test_top1,seconds"
    assert pd.read_csv(tmp_path / "history.csv")["epoch"].tolist() == [1, 2]


def test_the_best_epoch_is_the_first_of_the_best() -> None:
    rows = [{"epoch": k + 1, "test_top1": top1, "seconds": 1.0} for k, top1 in enumerate((0.1, 0.6, 0.6, 0.2))]
    assert plain(summary_of(rows)) == [{"epoch": 4, "test_top1": 0.2}, {"epoch": 2, "test_top1": 0.6}]
    assert summary_of([]) == (None, None)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"{", "JSON"),
        (b"", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[1]", "dametric_run"),
        (b"null", "dametric_run"),
        (b'{"id": 1}', "dametric_run"),
        (b'{"dametric_run": 2}', "version 2"),
        (b'{"dametric_run": "x"}', "version x"),
        (b'{"dametric_run": 1, "id": "a", "status": "finished"}', "'config'"),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path: Path, content: bytes, hint: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    for read in (lambda: read_record(path), lambda: load_runs(tmp_path), lambda: Run(tmp_path).record):
        with pytest.raises(UsageError) as caught:
            read()
        assert hint in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*record\.json"):
        read_record(tmp_path / "record.json")


def test_a_run_is_held_by_one(tmp_path: Path) -> None:
    run = Run(tmp_path / "deep" / "run")
    with run.claimed():
        with pytest.raises(BusyError, match="another process"), Run(run.folder).claimed():
            pass
        with Run(tmp_path / "deep" / "other").claimed():
            pass
    with run.claimed():
        pass
    with pytest.raises(KeyError), run.claimed():
        raise KeyError
    with run.claimed():
        pass


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    with pytest.raises(UsageError, match="cannot write"), Run(tmp_path / "plain" / "run").claimed():
        pass


# The table


def test_the_table_has_the_columns_that_are_documented_and_their_types(tmp_path: Path) -> None:
    add(tmp_path / "a")
    add(tmp_path / "b", seed=1, teacher=None, aug="crop+flip")
    table = load_runs(tmp_path)
    assert list(table) == COLUMNS
    documented = " ".join((load_runs.__doc__ or "").replace(",", " ").replace("`", " ").split())
    assert all(f" {name} " in documented for name in COLUMNS if not name.startswith("best_"))
    whole = {"seed", "epochs", "epoch", "best_epoch"}
    real = {*MEASURED, *HELD_OUT, "step", "seconds", *(f"best_{name}" for name in MEASURED)}
    for name in COLUMNS[: COLUMNS.index("folder")]:
        kind = table[name].dtype
        assert pd.api.types.is_integer_dtype(kind) == (name in whole), name
        assert pd.api.types.is_float_dtype(kind) == (name in real), name


def test_a_row_is_a_run(tmp_path: Path) -> None:
    run = add(tmp_path / "x" / "y", student="wrn_16_2", seed=7)
    row = load_runs(tmp_path).to_dict("records")[0]
    assert row["id"] == record_of(run)["id"]
    assert (row["status"], row["kind"], row["data"]) == ("finished", "distill", "patterns")
    assert (row["teacher"], row["teacher_sha256"]) == ("resnet20", "hash of resnet20")
    assert (row["student"], row["aug"]) == ("wrn_16_2", "cutmix")
    assert (row["seed"], row["epochs"], row["epoch"], row["best_epoch"]) == (7, 3, 3, 2)
    assert [row[name] for name in MEASURED] == [1.25, 0.5, 0.875, 0.0625, 0.75]
    assert [row[f"best_{name}"] for name in MEASURED] == [1.25, 0.75, 0.875, 0.0625, 0.75]
    assert row["seconds"] == 12.5
    assert Path(row["folder"]) == run.folder


def test_a_row_names_every_option_of_the_recipe(tmp_path: Path) -> None:
    """So that no two runs of other options look alike: what a recipe gains becomes a column too."""
    recipe = Recipe(epochs=3, lr=0.5, per="batch", objective=Objective(0.25, 0.5, 0.75, 2.0), dtype="float64", seed=4)
    data = {"name": "patterns", "train": 96, "image_size": 8}
    found = options(RecordedRecipe.of(asdict(recipe)), RecordedData.of(data))
    flat = {name: value for name, value in asdict(recipe).items() if name not in ("objective", "aug", "seed")}
    weights = {"ce_weight": 0.25, "raw_weight": 0.5, "aug_weight": 0.75, "temperature": 2.0, "loss_term": None}
    assert found == {**flat, **weights, "train_images": 96, "image_size": 8}
    assert tuple(found) == OPTIONS
    assert set(KEYS["training"]) - {"views", "compile"} <= set(OPTIONS), "named as in a grid"


def test_what_a_run_has_not_is_nan(tmp_path: Path) -> None:
    add(tmp_path / "a", teacher=None, aug="crop+flip")
    add(tmp_path / "b")
    row = load_runs(tmp_path).set_index("aug").loc["crop+flip"]
    assert row["kind"] == "train"
    assert all(pd.isna(row[name]) for name in ("teacher", "teacher_sha256", "test_agreement", "best_test_agreement"))
    assert row["test_top1"] == 0.5


def test_rows_are_sorted_by_teacher_student_augmentation_and_seed(tmp_path: Path) -> None:
    wanted = [
        (teacher, student, aug, seed)
        for teacher in (None, "resnet20", "resnet8")
        for student in ("resnet14", "vgg8")
        for aug in ("cutmix", "flip")
        for seed in (0, 2, 10)
    ]
    for position in np.random.default_rng(0).permutation(len(wanted)):
        teacher, student, aug, seed = wanted[position]
        add(tmp_path / f"{position:03d}", teacher=teacher, student=student, aug=aug, seed=seed)
    table = load_runs(tmp_path)
    found = table[["teacher", "student", "aug", "seed"]].astype(object)
    assert [tuple(row) for row in found.where(found.notna(), None).to_numpy()] == wanted
    assert table.index.tolist() == list(range(len(wanted)))


def test_runs_are_found_at_any_depth_or_given(tmp_path: Path) -> None:
    runs = [add(tmp_path / "a", seed=0), add(tmp_path / "b" / "c" / "d", seed=1)]
    (tmp_path / "b" / "e").mkdir()
    (tmp_path / "b" / "e" / "history.csv").write_text("epoch\n")
    assert find_runs(tmp_path) == runs
    assert find_runs(tmp_path / "a") == runs[:1]
    assert load_runs(str(tmp_path))["seed"].tolist() == [0, 1]
    assert load_runs(run for run in runs[1:])["seed"].tolist() == [1]
    assert dametric.load_runs is load_runs


def test_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        load_runs(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        load_runs(tmp_path / "missing")
    with pytest.raises(UsageError, match="no run"):
        load_runs([])


def test_a_run_that_was_killed_is_interrupted_with_what_its_history_says(tmp_path: Path) -> None:
    run = add(tmp_path, status="running", last=None, best=None, timing={"seconds": 0})
    assert load_runs(tmp_path).loc[0, ["status", "epoch", "seconds"]].tolist() == ["interrupted", 0, 0]
    measured = {"test_loss": 1.0, "test_top1": 0.25, "test_top5": 0.5, "test_ece": 0.125, "test_agreement": 0.5}
    rows = [{"epoch": 1, **measured, "seconds": 3.0}, {"epoch": 2, **measured, "test_top1": 0.125, "seconds": 4.0}]
    run.write_history(rows)
    row = load_runs(tmp_path).loc[0]
    assert (row["status"], row["epoch"], row["epochs"]) == ("interrupted", 2, 3)
    assert (row["test_top1"], row["best_test_top1"], row["best_epoch"]) == (0.125, 0.25, 1)
    assert row["seconds"] == 7
    with run.claimed():
        assert load_runs(tmp_path).loc[0, "status"] == "running"
    assert load_runs(tmp_path).loc[0, "status"] == "interrupted"


def test_json_says_what_the_table_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = add(tmp_path, status="running", last=None, best=None, timing={"seconds": 0})
    measured = {"test_loss": 1.0, "test_top1": 0.25, "test_top5": 0.5, "test_ece": 0.125, "test_agreement": 0.5}
    run.write_history([{"epoch": 1, **measured, "seconds": 3.0}])

    def said() -> dict[str, Any]:
        assert cli._run(["runs", str(tmp_path), "--json"]) == 0
        (record,) = json.loads(capsys.readouterr().out)
        return record

    with run.claimed():
        assert said()["status"] == "running"
    found = said()
    assert found["status"] == "interrupted"
    assert found["last"] == found["best"] == {"epoch": 1, **measured}
    assert found["timing"]["seconds"] == 3
    assert run.record["status"] == "running"  # what is on the disk is left alone


def test_looking_does_not_claim(tmp_path: Path) -> None:
    run = add(tmp_path, status="running", last=None, best=None)
    with run.claimed():
        load_runs(tmp_path)
    with run.claimed():
        pass


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_other_runs_keep_their_word(tmp_path: Path, status: str) -> None:
    add(tmp_path, status=status, error="why" if status == "failed" else None)
    assert load_runs(tmp_path)["status"].tolist() == [status]


def test_a_run_that_failed_at_once_is_a_row(tmp_path: Path) -> None:
    add(tmp_path, status="failed", error="why", last=None, best=None)
    table = load_runs(tmp_path)
    assert (table.loc[0, "status"], table.loc[0, "epoch"]) == ("failed", 0)
    assert math.isnan(table.loc[0, "test_loss"])


def test_numbers_that_were_not_finite_are_nan_in_the_table(tmp_path: Path) -> None:
    last = {"epoch": 1, "test_loss": math.nan, "test_top1": 0.1, "test_top5": 0.5, "test_ece": math.nan}
    add(tmp_path, last=last, best=last)
    table = load_runs(tmp_path)
    assert pd.api.types.is_float_dtype(table["test_loss"].dtype)
    assert math.isnan(table.loc[0, "test_loss"])


def test_a_ledger_that_cannot_be_written_is_read() -> None:
    """Shared results lie where a reader may not write."""
    folder = Path(tempfile.mkdtemp())  # not tmp_path, above which only the owner may look
    user = os.geteuid()
    try:
        add(folder / "finished", seed=0)
        killed = add(folder / "killed", seed=1, status="running", last=None, best=None)
        with killed.claimed():
            pass
        load_runs(folder)  # imports what it needs while everything can be read
        for path in (*folder.rglob("*"), folder):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = {path: path.stat() for path in folder.rglob("*")}
        if user == 0:
            os.seteuid(65534)  # root may write everywhere
        try:
            assert not os.access(folder, os.W_OK, effective_ids=True)
            assert load_runs(folder)["status"].tolist() == ["finished", "interrupted"]
        finally:
            os.seteuid(user)
        after = {path: path.stat() for path in folder.rglob("*")}
        assert {path: stat.st_mtime_ns for path, stat in after.items()} == {
            path: stat.st_mtime_ns for path, stat in before.items()
        }
    finally:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)


def test_the_table_needs_no_torch(tmp_path: Path) -> None:
    add(tmp_path)
    code = (
        "import sys, dametric\n"
        "assert dametric.load_runs(sys.argv[1])['seed'].tolist() == [0]\n"
        "print(sorted({'torch', 'torchvision', 'sklearn', 'matplotlib'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "[]\n"


def test_a_real_ledger_as_a_table(kept: Kept) -> None:
    table = load_runs(kept.root)
    assert table["kind"].tolist() == ["train", "distill"]
    for row, run in zip(table.to_dict("records"), (kept.teacher, kept.student), strict=True):
        record = record_of(run)
        assert row["id"] == record["id"]
        assert row["test_top1"] == record["last"]["test_top1"]
        assert row["best_epoch"] == record["best"]["epoch"]
        assert row["seconds"] == record["timing"]["seconds"]
    assert table.loc[1, "teacher_sha256"] == sha256(kept.teacher.checkpoint)
