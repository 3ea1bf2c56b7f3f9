"""Names that become files stay below the folder that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dametric import cli
from dametric.base.names import checked_name, inside, slug
from dametric.errors import UsageError
from dametric.sweeps.grid import read_grid
from dametric.sweeps.options import RunEnvironment, teacher_file

GRID = {
    "data": {"source": "digits", "image_size": 8},
    "teachers": {"good": {"arch": "resnet8", "epochs": 1}},
    "pairs": ["good -> resnet8"],
    "augmentations": ["identity"],
}


def test_a_grid_that_would_write_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "out"
    for name in ("../../../X", "/tmp/X", "..", ".", "a/b", "a\\b", ".hidden", "", "x" * 130, "a\nb", "\x1b]0;x\x07"):
        teachers = {
            **GRID,
            "teachers": {name: {"arch": "resnet8", "epochs": 1}},
            "pairs": [{"teacher": name, "student": "resnet8"}],
        }
        data = {**GRID, "data": {"source": "digits", "name": name, "image_size": 8}}
        for number, grid in enumerate((teachers, data)):
            if number == 1 and name == "":
                continue  # stands for no name: the source's is taken
            path = tmp_path / "grid.yaml"
            path.write_text(yaml.safe_dump(grid), encoding="utf-8")
            assert cli._run(["sweep", str(path), "-o", str(out), "-q"]) == 2
            said = capsys.readouterr().err
            assert ("teacher" if number == 0 else "data set") in said
            assert len(said.splitlines()) == 1
            assert "\x1b" not in said
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["grid.yaml"]


def test_variants_of_a_teacher_whose_values_have_slashes(tmp_path: Path) -> None:
    checkpoints = ["../../a/b.pth", "../../a_b.pth"]
    teachers = {"big": {"checkpoint": checkpoints}, "new": {"arch": ["./nets.py:a/../../b", "resnet8"], "epochs": 1}}
    grid = {**GRID, "teachers": teachers, "pairs": ["big -> resnet8", "new -> resnet8"]}
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(grid), encoding="utf-8")
    found = read_grid(str(path))
    assert len(found.teachers) == 4
    place = RunEnvironment(tmp_path / "out")
    for name in found.teachers:
        if name.startswith("new"):
            file = teacher_file(found, "digits", name, place)
            assert file.resolve().parent == (tmp_path / "out" / "teachers").resolve()
        else:
            assert "/" not in name


def test_names_that_are_fine_stay_as_they_are() -> None:
    for name in ("resnet20", "cifar100-5000", "T1", "timm:resnet18", "größe", "cutmix:alpha=0.5", "v1.2 (old)"):
        assert checked_name(name, "teacher") == slug(name) == name
    assert slug("a/b.py:net") != slug("a_b.py:net") == "a_b.py:net"
    for text in ("../../x", "/abs", "..", "", "x" * 500, "\ud800"):
        made = slug(text)
        assert "/" not in made
        assert not made.startswith(".")
        assert len(made) < 100


def test_what_leads_out_of_a_folder_is_refused(tmp_path: Path) -> None:
    assert inside(tmp_path, "a", "b..c") == tmp_path / "a" / "b..c"
    (tmp_path / "link").symlink_to("/")
    for parts in (("..",), ("a", "../../x"), ("/etc",), ("link", "etc")):
        with pytest.raises(UsageError, match="lead out of it"):
            inside(tmp_path, *parts)
