"""Grids: what a file expands to, against plain loops; and what is refused, with the nearest right word."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dametric.augment import PAPER, ImageSpec, parse
from dametric.errors import UsageError
from dametric.sweeps import Grid, RunSpec, read_grid
from dametric.sweeps.blocks import DataSpec, ScoreSpec, TeacherSpec
from dametric.sweeps.reading import whole_numbers
from tests.loops import each

ROOT = Path(__file__).resolve().parents[2]
Read = Callable[..., Grid]
SMALL: dict[str, Any] = {
    "data": "digits",
    "teachers": {"t": {"arch": "resnet8", "epochs": 1}},
    "pairs": ["t -> resnet8"],
    "augmentations": ["flip", "cutmix"],
}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """A grid with changes to the small one: ``read(seeds="0-2", _set=["seeds=1"])``; None takes a block away."""

    def read(_set: tuple[str, ...] = (), **changes: Any) -> Grid:
        document = {key: value for key, value in {**SMALL, **changes}.items() if value is not None}
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return read_grid(str(path), _set)

    return read


def refused(read: Read, **changes: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read(**changes)
    text = str(caught.value)
    assert "\n" not in text
    assert "grid.yaml" in text
    return text


def test_every_list_is_crossed_with_every_other(read: Read) -> None:
    grid = read(
        data=[{"source": "digits", "image_size": [16, 32]}, {"source": "svhn"}],
        teachers={"a": {"epochs": 2}, "b": {"checkpoint": "b.pth"}},
        pairs=["a -> resnet8", {"teacher": "b", "student": ["resnet8", "wrn_16_1"]}],
        seeds="0-2",
        training={"epochs": [2, 4], "lr": 0.1, "schedule": ["step", "cosine"]},
    )
    data = ("digits", "digits-image_size=32", "svhn")
    pairs = (("a", "resnet8"), ("b", "resnet8"), ("b", "wrn_16_1"))
    expected = {
        RunSpec(d, teacher, student, aug, seed, (("epochs", epochs), ("lr", 0.1), ("schedule", schedule)))
        for d, (teacher, student), aug, seed, epochs, schedule in itertools.product(
            data, pairs, ("flip", "cutmix"), range(3), (2, 4), ("step", "cosine")
        )
    }
    assert set(grid.rows) == expected
    assert len(grid.rows) == len(expected) == 3 * 3 * 2 * 3 * 4
    assert grid.data["digits"] == DataSpec("digits", {"image_size": 16})
    assert grid.teachers["b"] == TeacherSpec("b", checkpoint="b.pth")
    assert grid.teachers["a"] == TeacherSpec("a", "a", recipe={"epochs": 2})


def test_the_same_run_is_made_once(read: Read) -> None:
    grid = read(pairs=["t -> resnet8", "t -> resnet8"], augmentations=["flip", "flip", "paper"], seeds=[0, "0-1"])
    assert len(grid.rows) == len(PAPER) * 2
    assert grid == read(augmentations=["flip", *(aug for aug in PAPER if aug != "flip")], seeds="0-1")


def test_a_teacher_s_lists_make_teachers(read: Read) -> None:
    grid = read(teachers={"t": {"arch": "resnet8", "epochs": 3, "seed": [0, 1]}})
    assert list(grid.teachers) == ["t-seed=0", "t-seed=1"]
    assert {row.teacher for row in grid.rows} == {"t-seed=0", "t-seed=1"}
    one = read(teachers={"t": {"arch": "resnet8", "seed": [0, 1]}}, pairs=["t-seed=1 -> resnet8"])
    assert {row.teacher for row in one.rows} == {"t-seed=1"}


def test_teachers_as_a_list_or_without_options_are_architectures(read: Read) -> None:
    for teachers in (["resnet20"], {"resnet20": None}):
        grid = read(teachers=teachers, pairs=["resnet20->resnet8"])
        assert grid.teachers == {"resnet20": TeacherSpec("resnet20", "resnet20")}


def test_a_teacher_of_one_data_set_is_asked_for_no_other(read: Read) -> None:
    both = [{"source": "digits"}, {"source": "svhn"}]
    grid = read(data=both, teachers={"t": {"checkpoint": "x.pth", "data": "svhn"}})
    assert {row.data for row in grid.rows} == {"svhn"}
    grid = read(data=both, pairs=[{"teacher": "t", "student": "resnet8", "data": "digits"}])
    assert {row.data for row in grid.rows} == {"digits"}


def test_settings_of_an_augmentation_are_crossed(read: Read) -> None:
    grid = read(
        augmentations=[
            "mixup:alpha=0.2",
            {"cutmix": {"alpha": [0.5, 1, 2.0]}},
            {"cutmixpick": {"by": ["kld", "dissimilarity"], "runs": [2, 3]}},
        ]
    )
    assert [row.aug for row in grid.rows] == [
        "mixup:alpha=0.2",
        *(f"cutmix:alpha={alpha}" for alpha in ("0.5", "1", "2.0")),
        *(f"cutmixpick:by={by}:runs={runs}" for by in ("kld", "dissimilarity") for runs in (2, 3)),
    ]
    for row in grid.rows:
        parse(row.aug, ImageSpec())


def test_what_matches_all_of_a_line_is_left_out(read: Read) -> None:
    students = {"teacher": "t", "student": ["resnet8", "wrn_16_1"]}
    whole = read(pairs=[students], seeds="0-2", training={"epochs": [1, 2]})
    grid = read(
        pairs=[students],
        seeds="0-2",
        training={"epochs": [1, 2]},
        exclude=[{"student": "wrn*", "aug": ["cut*", "mixup"]}, {"epochs": 2, "seed": "1-2"}],
    )
    expected = [
        row
        for row in whole.rows
        if not (row.student == "wrn_16_1" and row.aug == "cutmix")
        and not (("epochs", 2) in row.training and row.seed in (1, 2))
    ]
    assert list(grid.rows) == expected
    assert len(expected) < len(whole.rows)


def test_included_rows_take_from_the_grid_what_they_leave_out(read: Read) -> None:
    grid = read(
        teachers={"t": None, "u": None},
        seeds="0-1",
        training={"epochs": 2, "lr": 0.1},
        exclude=[{"aug": "cutmix"}],
        include=[{"aug": ["cutmix", "mixup"], "epochs": 9}, {"teacher": "u", "student": "wrn_16_1", "seed": 7}],
    )
    usual = (("epochs", 2), ("lr", 0.1))
    first = [RunSpec("digits", "t", "resnet8", "flip", seed, usual) for seed in (0, 1)]
    longer = [
        RunSpec("digits", "t", "resnet8", aug, seed, (("epochs", 9), ("lr", 0.1)))
        for aug in ("cutmix", "mixup")
        for seed in (0, 1)
    ]
    others = [RunSpec("digits", "u", "wrn_16_1", aug, 7, usual) for aug in ("flip", "cutmix")]
    assert list(grid.rows) == first + longer + others


def test_runs_of_other_options_have_folders_that_name_the_difference(read: Read) -> None:
    grid = read(training={"epochs": [240, 960], "lr": 0.1}, include=[{"temperature": 2, "lr": 5e-2, "epochs": 240}])
    folders = {grid.folder(row.training) for row in grid.rows}
    assert folders == {"", "epochs=960", "lr=0.05,temperature=2"}


def test_numbers_that_yaml_takes_for_words_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(yaml.safe_dump(SMALL) + "training: {weight_decay: 5e-4, lr: 1, epochs: 2}\n")
    (training,) = {row.training for row in read_grid(str(path)).rows}
    assert training == (("epochs", 2), ("lr", 1.0), ("weight_decay", 5e-4))
    assert all(type(value) is kind for (_, value), kind in zip(training, (int, float, float), strict=True))


def test_overrides_replace_what_the_file_says(read: Read) -> None:
    grid = read(_set=("training.epochs=[3, 4]", "seeds=5", "teachers.t.epochs=9", "score.batches=20"))
    assert {row.training for row in grid.rows} == {(("epochs", 3),), (("epochs", 4),)}
    assert {row.seed for row in grid.rows} == {5}
    assert grid.teachers["t"].recipe["epochs"] == 9
    assert grid.score == ScoreSpec(options={"batches": 20})
    for bad, word in (("seeds", "KEY=VALUE"), ("pairs.first=1", "no parts"), ("seeds=[", "not YAML")):
        with pytest.raises(UsageError, match=word):
            read(_set=(bad,))


def test_overrides_go_inside_of_what_is_written_short(read: Read) -> None:
    grid = read(data="digits", teachers=["t", "u"], _set=("data.image_size=16", "teachers.u.epochs=9"))
    assert grid.data == {"digits": DataSpec("digits", {"image_size": 16})}
    assert grid.teachers["u"].recipe["epochs"] == 9
    assert grid.teachers["t"].recipe == {}
    assert read(data="digits", _set=("data.source=pictures/",)).data == {"pictures": DataSpec("pictures/")}


def test_scoring_is_asked_for(read: Read) -> None:
    assert read().score is None
    assert read(score={}).score == ScoreSpec()
    assert read(score={"batches": 3}, _set=("score=null",)).score is None


def test_only_some_runs(read: Read) -> None:
    grid = read(pairs=[{"teacher": "t", "student": ["resnet8", "wrn_16_1"]}], seeds="0-2", training={"epochs": [1, 2]})
    chosen = grid.only(["student=wrn*", "seed=0", "seed=2", "epochs=1"]).rows
    assert chosen == tuple(
        row for row in grid.rows if row.student == "wrn_16_1" and row.seed in (0, 2) and ("epochs", 1) in row.training
    )
    assert grid.only(["aug=cut*"]).rows == tuple(row for row in grid.rows if row.aug == "cutmix")
    for filters, word in (
        (["stundent=x"], "student"),
        (["student"], "KEY=PATTERN"),
        (["aug=nothing"], "no run"),
        (["epoch=1"], "epochs"),
    ):
        with pytest.raises(UsageError, match=word):
            grid.only(filters)


@each(
    ("changes", "words"),
    [
        ({"augmentation": ["flip"]}, "augmentations"),
        ({"seed": 0}, "seeds"),
        ({"training": {"epoch": 2}}, "epochs"),
        ({"training": {"temprature": 2}}, "temperature"),
        ({"teachers": {"t": {"epoches": 1}}}, "epochs"),
        ({"teachers": {"t": {"checkpoint": "x.pth", "epochs": 1}}}, "epochs"),
        ({"teachers": {"t": {"mean": [0.5]}}}, "mean"),
        ({"teachers": {"t": {"checkpoint": "x.pth", "data": "svhn"}}}, "svhn"),
        ({"data": {"sourec": "digits"}}, "source"),
        ({"data": {"image_size": 16}}, "source"),
        ({"data": [{"source": "digits"}, {"source": "digits"}]}, "two sets"),
        ({"data": {"source": "digits", "train_images": 0}}, "train_images"),
        ({"pairs": ["u -> resnet8"]}, "teacher"),
        ({"pairs": ["resnet8"]}, "teacher -> student"),
        ({"pairs": [{"teacher": "t"}]}, "student"),
        ({"pairs": [{"teacher": "t", "studnt": "resnet8"}]}, "student"),
        ({"pairs": [{"teacher": "t", "student": []}]}, "empty"),
        ({"pairs": []}, "pairs"),
        ({"teachers": None}, "teachers"),
        ({"augmentations": []}, "augmentations"),
        ({"augmentations": [3.5, True]}, "word"),
        ({"seeds": "2-0"}, "seeds"),
        ({"seeds": -1}, "seeds"),
        ({"seeds": []}, "seeds"),
        ({"seeds": 2**31}, "seeds"),
        ({"training": {"epochs": "many"}}, "whole number"),
        ({"training": {"epochs": True}}, "whole number"),
        ({"training": {"epochs": 2.5}}, "whole number"),
        ({"training": {"lr": "fast"}}, "a number"),
        ({"training": {"lr": float("nan")}}, "a number"),
        ({"training": {"nesterov": 1}}, "true or false"),
        ({"training": {"epochs": []}}, "empty"),
        ({"training": ["epochs"]}, "key: value"),
        ({"exclude": [{"stdent": "x"}]}, "student"),
        ({"exclude": [{"student": "nothing"}]}, "matches no run"),
        ({"exclude": [{}]}, "everything"),
        ({"exclude": [{"student": "*"}]}, "no run is left"),
        ({"include": [{"teacher": "t"}]}, "both"),
        ({"include": [{"agu": "flip"}]}, "aug"),
        ({"score": {"rel_see": 0.1}}, "rel_se"),
        ({"score": {"batches": "x"}}, "whole number"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(read: Read, changes: dict[str, Any], words: str) -> None:
    assert words in refused(read, **changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "blocks"),
        ("a: [", "not YAML"),
        ("seeds: 1\nseeds: 2\n", "twice"),
        ("", "blocks"),
        (b"\xff\xfe\x00", "YAML"),
    ],
)
def test_a_file_that_is_no_grid(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = tmp_path / "grid.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=words) as caught:
        read_grid(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot read"):
        read_grid(str(tmp_path / "none.yaml"))


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "data: digits\nteachers:\n  a: &r {epochs: 3, lr: 0.1}\n  b: {<<: *r, lr: 0.2}\n"
        "pairs: [a -> resnet8, b -> resnet8]\naugmentations: flip\n"
    )
    grid = read_grid(str(path))
    assert grid.teachers["b"] == TeacherSpec("b", "b", recipe={"epochs": 3, "lr": 0.2})


def test_seeds_as_users_write_them() -> None:
    assert whole_numbers(3, "seeds") == (3,)
    assert whole_numbers("0-2,7", "seeds") == (0, 1, 2, 7)
    assert whole_numbers([4, "1-2", 1], "seeds") == (4, 1, 2)


GRIDS = [path for path in sorted((ROOT / "experiments").glob("*.yaml")) if path.name != "study.yaml"]  # fixed tests


@each("path", GRIDS)
def test_the_grids_of_the_repository_can_be_read(path: Path) -> None:
    grid = read_grid(str(path))
    assert grid.rows
    assert (grid.score is None) == (path.stem in ("ladder", "strengths"))  # whose scores a command of their own makes


def test_the_published_study_is_nine_pairs_nine_augmentations_three_seeds() -> None:
    for name, more in (("cifar100", 960), ("tinyimagenet", 480)):
        grid = read_grid(str(ROOT / "experiments" / f"{name}.yaml"))
        usual = [row for row in grid.rows if row.training == grid.training]
        assert dict(grid.training).get("epochs", 240) == 240
        pairs = {(row.teacher, row.student) for row in usual}
        assert len(pairs) == 9
        assert len(usual) == 9 * 9 * 3
        assert {row.aug for row in usual} == set(PAPER)
        assert {row.value("epochs") for row in grid.rows} == {240, more}


def test_the_families_are_varied_inside() -> None:
    from dametric.stats.families import family

    grid = read_grid(str(ROOT / "experiments" / "families.yaml"))
    augs = {row.aug for row in grid.rows}
    assert 18 <= len(augs) <= 27
    names = [family(aug) for aug in augs]
    assert {"mixup", "cutmix", "erase", "policy"} <= set(names)
    assert all(names.count(name) >= 3 for name in ("mixup", "cutmix", "erase", "policy"))
