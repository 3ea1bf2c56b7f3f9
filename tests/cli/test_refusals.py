"""What cannot be is refused in one line that says what is wrong and what would be right, with exit code 2."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.loops import each

Refused = Callable[..., str]
Run = Callable[..., Any]


@pytest.fixture
def no(refused: Refused, score: Run) -> Refused:
    """``dametric score`` with these options is refused; its line."""

    def no(*arguments: object) -> str:
        return refused(*arguments, command=score)

    return no


# Checkpoints


def test_a_checkpoint_that_is_not_there(no: Refused, tmp_path: Path) -> None:
    line = no("--teacher", tmp_path / "none.pth")
    assert "there is no checkpoint" in line
    assert "none.pth" in line
    assert str(tmp_path) in no("--teacher", tmp_path)


class Code:
    """Unpickling this would run ``os.system``."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("true",)


def test_a_checkpoint_that_would_run_code(no: Refused, tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.zeros(1)}, "hook": Code()}, tmp_path / "evil.pth")
    line = no("--teacher", tmp_path / "evil.pth")
    assert "evil.pth" in line
    assert "code" in line
    assert "state_dict" in line


def test_a_whole_module_pickled(no: Refused, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    assert "state_dict" in no("--teacher", tmp_path / "module.pth")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(no: Refused, teacher: Path, tmp_path: Path, bad: float) -> None:
    content = torch.load(teacher, weights_only=True)
    name = next(name for name, weight in content["model"].items() if weight.dim() == 4)
    content["model"][name][0, 0, 0, 0] = bad
    torch.save(content, tmp_path / "nan.pth")
    line = no("--teacher", tmp_path / "nan.pth")
    assert name in line
    assert "NaN or infinite" in line


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_file_that_was_cut_off(no: Refused, teacher: Path, tmp_path: Path, share: float) -> None:
    content = teacher.read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: int(share * len(content))])
    assert "cut.pth" in no("--teacher", tmp_path / "cut.pth")


def test_a_file_of_something_else(no: Refused, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("not weights\n" * 100)
    assert "text.pth" in no("--teacher", tmp_path / "text.pth")


def test_weights_that_do_not_fit_the_architecture_asked_for(no: Refused, teacher: Path) -> None:
    line = no("--arch", "resnet20")
    assert "do not fit resnet20" in line
    assert "missing" in line


@pytest.mark.parametrize("error", ["AssertionError", "RuntimeError"])
def test_a_network_that_takes_images_of_another_size(no: Refused, refused: Refused, tmp_path: Path, error: str) -> None:
    """Transformers assert it, convolutions fail."""
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "class Picky(nn.Linear):\n"
        "    def forward(self, images):\n"
        "        if images.shape[-1] != 224:\n"
        f"            raise {error}('expected 224 pixels')\n"
        "def net(num_classes):\n"
        "    return Picky(3, num_classes)\n"
    )
    arch = f"{tmp_path}/nets.py:net"
    torch.save(torch.nn.Linear(3, 10).state_dict(), tmp_path / "picky.pth")
    line = no("--teacher", tmp_path / "picky.pth", "--arch", arch, "--data", "digits")
    assert f"do they have the size and channels it takes? {error}: expected 224 pixels" in line
    options = ("--arch", arch, "--data", "digits", "-o", tmp_path / "t.pth", "--epochs", 1, "-q")
    assert "expected 224 pixels" in refused("train", *options)


def test_a_checkpoint_whose_data_lie_elsewhere(no: Refused, teacher: Path, tmp_path: Path) -> None:
    """A path is written as it was typed, and means nothing in another folder."""
    content = torch.load(teacher, weights_only=True)
    torch.save({**content, "data": "pictures"}, tmp_path / "moved.pth")
    line = no("--teacher", tmp_path / "moved.pth")
    assert "was trained on 'pictures', which is not here: give --data" in line


def test_weights_that_nothing_known_has(no: Refused, tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(10, 4)}, tmp_path / "odd.pth")
    assert "--arch" in no("--teacher", tmp_path / "odd.pth", "--data", "digits")


def test_a_student_of_another_number_of_classes(no: Refused, tmp_path: Path) -> None:
    from dametric.models import build, save_checkpoint

    save_checkpoint(tmp_path / "seven.pth", build("resnet8", 7, 32), arch="resnet8")
    line = no("--student", tmp_path / "seven.pth")
    assert "student has 7 classes" in line
    assert "teacher 10" in line


# Names


@each(
    ("option", "typed", "hint"),
    [
        ("--aug", "cutmx", "did you mean cutmix"),
        ("--aug", "crop+flop", "did you mean flip"),
        ("--aug", "papr", "did you mean paper"),
        ("--aug", "cutmix:alpa=1", "did you mean alpha"),
        ("--aug", "cutmix:alpha=much", "a number"),
        ("--aug", "cutmix:alpha=-1", "alpha"),
        ("--aug", "cutmix:alpha", "key=value"),
        ("--aug", "cutmixpick:by=teacher_entrop", "teacher_entropy"),
        ("--aug", "cutmix+mixup", "only one"),
        ("--aug", "", "augmentation"),
        ("--aug", "./none.py:fn", "no file"),
        ("--aug", "no_such_package.augs:fn", "no module"),
        ("--aug", "os.path:abspathh", "did you mean abspath"),
        ("--aug", "cutmixpick:by=student_entropy", "--student"),
        ("--metric", "t_stdev", "did you mean t_stddev"),
        ("--metric", "ce_cov", "--student"),
        ("--data", "digit", "did you mean digits"),
        ("--data", "./nowhere", "no such file or folder"),
        ("--arch", "resnet9", "did you mean resnet"),
        ("--arch", "torchvision:resnet1", "resnet18"),
        ("--arch", "./none.py:fn", "no file"),
        ("--protocol", "referense", "did you mean reference"),
        ("--per", "smaple", "sample"),
        ("--split", "validation", "train or test"),
        ("--dtype", "float", "float32"),
        ("--dtype", "int8", "float32"),
        ("--device", "gpu", "cuda"),
        ("--device", "meta", "cpu or cuda"),
        ("--base-aug", "crop+flp", "did you mean"),
        ("--base-aug", "nothing", "known"),
    ],
)
def test_a_name_with_a_typo_gets_the_nearest_one(no: Refused, option: str, typed: str, hint: str) -> None:
    assert hint in no(option, typed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_cuda_where_there_is_none(no: Refused, device: str) -> None:
    assert "no CUDA device here: use --device cpu" in no("--device", device)


# Numbers


@each(
    ("arguments", "hint"),
    [
        (["--rel-se", "2"], "--rel-se"),
        (["--rel-se", "0"], "--rel-se"),
        (["--rel-se", "nan"], "--rel-se"),
        (["--rel-se", "1%"], "--rel-se"),
        (["--temperature", "0"], "temperature"),
        (["--temperature", "-1"], "temperature"),
        (["--temperature", "nan"], "temperature"),
        (["--temperature", "inf"], "temperature"),
        (["--raw-weight", "1"], "--raw-weight"),
        (["--raw-weight", "-0.1"], "--raw-weight"),
        (["--raw-weight", "nan"], "--raw-weight"),
        (["--raw-weight", "0.3", "--protocol", "reference"], "raw weight is 0.5"),
        (["--seed", "-1"], "--seed"),
        (["--seed", "8796093022208"], "--seed"),
        (["--seed", "x"], "--seed"),
        (["--batches", "1"], "--batches"),
        (["--batches", "9", "--protocol", "reference"], "--batches"),
        (["--batch-size", "3"], "--batch-size"),
        (["--batch-size", "2000"], "--batch-size"),
        (["--draw-batches", "0"], "--draw-batches"),
        (["--max-batches", "3"], "--max-batches"),
        (["--chunk", "0"], "--chunk"),
        (["--image-size", "big"], "--image-size"),
        (["--image-size", "0"], "--image-size"),
        (["--image-size", "-32"], "--image-size"),
        (["--mean", "0.5,x,0.5"], "--mean"),
        (["--mean", "0.5,0.5"], "--mean"),
        (["--mean", ""], "--mean"),
        (["--mean", "nan,nan,nan"], "--mean"),
        (["--std", "1,1"], "--std"),
        (["--std", "0,0,0"], "--std"),
        (["--std", "-1,1,1"], "--std"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--batchs", "3"], "--batches"),
        (["--aug"], "--aug"),
        (["left", "over"], "left"),
    ],
)
def test_a_number_that_cannot_be(no: Refused, arguments: list[str], hint: str) -> None:
    assert hint in no(*arguments)


def test_augmentations_and_teacher_are_asked_for(refused: Refused, teacher: Path) -> None:
    assert "--aug" in refused("score", "--teacher", teacher)
    assert "--teacher" in refused("score", "--aug", "cutmix")


def test_mistakes_in_names_are_found_before_the_teacher_is_read(refused: Refused, tmp_path: Path) -> None:
    missing = ["--teacher", str(tmp_path / "none.pth")]
    for option in (["--aug", "cutmx"], ["--aug", "flip", "--metric", "t_std"], ["--aug", "flip", "--per", "bath"]):
        assert "unknown" in refused("score", *missing, *option)


# Images


def test_a_folder_without_images(no: Refused, tmp_path: Path) -> None:
    assert str(tmp_path) in no("--data", tmp_path)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    assert str(tmp_path) in no("--data", tmp_path)


def test_an_image_that_is_broken_is_named(no: Refused, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((32, 32, 3), 10 * i, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / name / f"{i}.png")
    (tmp_path / "train" / "dog" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert "2.png" in no("--data", tmp_path, "--batch-size", 4)


def test_images_of_differing_sizes_need_one(no: Refused, score: Run, teacher: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name in range(10):
        (tmp_path / "train" / str(name)).mkdir(parents=True)
        for i, side in enumerate((32, 40)):
            pixels = draw.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / str(name) / f"{i}.png")
    content = torch.load(teacher, weights_only=True)
    torch.save({**content, "image_size": None}, tmp_path / "unsized.pth")
    assert "--image-size" in no("--data", tmp_path, "--teacher", tmp_path / "unsized.pth")
    assert score("--data", tmp_path, "--batch-size", 8).code == 0, "a teacher that knows its size says which"
    assert score("--data", tmp_path, "--image-size", 32, "--batch-size", 8).code == 0


def test_named_sets_are_never_fetched_unasked(no: Refused, tmp_path: Path) -> None:
    line = no("--data", "cifar10", "--data-root", tmp_path)
    assert "--data-root" in line
    assert "--download" in line
    assert list(tmp_path.iterdir()) == []


# Places to write


@pytest.mark.parametrize("option", ["-o", "--picture"])
def test_a_folder_is_no_file(no: Refused, tmp_path: Path, option: str) -> None:
    (tmp_path / "folder.png").mkdir()
    assert "is a folder" in no(option, tmp_path / "folder.png")


@pytest.mark.parametrize("option", ["-o", "--picture"])
@pytest.mark.parametrize("below", ["scores.png", "deeper/scores.png", "a/b/scores.png"])
def test_a_file_is_no_folder(no: Refused, tmp_path: Path, option: str, below: str) -> None:
    (tmp_path / "plain").write_text("x")
    assert "plain" in no(option, tmp_path / "plain" / below)
    assert (tmp_path / "plain").read_text() == "x"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("below", ["scores.json", "new/scores.json"])
def test_a_folder_without_permission(no: Refused, tmp_path: Path, below: str) -> None:
    tmp_path.chmod(0o500)
    assert "permission" in no("-o", tmp_path / below).lower()


def test_a_place_that_cannot_be_written_is_found_before_the_work(score: Run) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("no file system here that refuses even root")
    said = score("-o", "/proc/new/scores.json")
    assert said.code == 2
    assert "scoring" not in said.err


def test_a_file_in_the_way_of_a_folder_is_found_before_the_work(score: Run, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    said = score("-o", tmp_path / "plain" / "new" / "scores.json")
    assert said.code == 2
    assert "scoring" not in said.err


@pytest.mark.parametrize("name", ["scores", "scores.gif", "scores.png.", "png"])
def test_a_picture_of_no_known_kind(no: Refused, tmp_path: Path, name: str) -> None:
    line = no("--picture", tmp_path / name)
    assert ".png, .svg, .pdf" in line


# Networks and functions that misbehave


def test_a_teacher_that_overflows_is_stopped_with_the_reason(
    no: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(3072, num_classes)\n\n"
        "    def forward(self, x):\n"
        "        return self.fc(x.flatten(1)) * float('inf')\n"
    )
    torch.save(torch.nn.Linear(3072, 10).state_dict(), tmp_path / "bare.pt")
    content = {f"fc.{name}": weight for name, weight in torch.load(tmp_path / "bare.pt", weights_only=True).items()}
    torch.save(content, tmp_path / "bare.pt")
    line = no("--teacher", "bare.pt", "--arch", "./nets.py:Net", "--data", "digits")
    assert "NaN" in line or "finite" in line
    assert "batch" in line
    line = no("--teacher", "bare.pt", "--arch", "./nets.py:Net", "--data", "digits", "--accuracy")
    assert "finite" in line


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        ("return images[:, :, :3]", "shape"),
        ("return None", "augs.py"),
        ("raise RuntimeError('no luck')", "no luck"),
        ("return images.undefined", "undefined"),
    ],
)
def test_a_function_of_the_user_s_that_fails_is_named(
    no: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "augs.py").write_text(f"def mine(images):\n    {body}\n")
    line = no("--aug", "./augs.py:mine")
    assert "mine" in line
    assert hint in line


def test_a_network_of_the_user_s_that_fails_is_named(
    no: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("def net(num_classes):\n    raise RuntimeError('no luck')\n")
    torch.save({"w": torch.zeros(10, 3)}, tmp_path / "bare.pt")
    line = no("--teacher", "bare.pt", "--arch", "./nets.py:net", "--data", "digits")
    assert "nets.py:net" in line
    assert "no luck" in line


# The command itself


def test_no_arguments_give_help(run: Run) -> None:
    said = run()
    assert said.code == 0
    assert said.err == ""
    assert said.out.startswith("Usage: dametric")
    assert all(f"  {name} " in said.out for name in ("score", "show", "ls", "demo"))


@pytest.mark.parametrize("command", [[], ["score"], ["show"], ["ls"], ["demo"]])
def test_help_fits_a_page_and_names_every_option(run: Run, command: list[str]) -> None:
    said = run(*command, "--help")
    assert said.code == 0
    assert said.err == ""
    assert max(map(len, said.out.splitlines())) <= 120
    if command == ["score"]:
        flags = "aug teacher data arch student metric output picture json protocol per rel-se batches chunk seed config"
        assert all(f"--{flag}" in said.out for flag in flags.split())


@pytest.mark.parametrize(("typed", "hint"), [(["scor"], "score"), (["--verison"], "--verison"), (["sho"], "show")])
def test_a_command_with_a_typo(refused: Refused, typed: list[str], hint: str) -> None:
    assert hint in refused(*typed)


def test_the_version_can_be_asked_for(run: Run) -> None:
    from dametric import __version__

    said = run("--version")
    assert said.code == 0
    assert said.out.split()[-1] == __version__
