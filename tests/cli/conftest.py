"""Teachers that were made once, and the command line without the price of starting it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dametric import cli
from dametric.base.arguments import speaking
from dametric.data import ImageSet, load_data
from dametric.models import build, save_checkpoint
from dametric.models.registry import MODELS
from dametric.training import LABELS, Recipe, Training, many
from tests.cli.small import Small, group_in_a_process
from tests.sweeps.small import forget_shapes


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """stdout as one JSON document without NaN."""

        def refuse(token: str) -> None:
            raise AssertionError(f"{token} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: ``run("score", "--aug", "cutmix", ...)``."""

    def run(*arguments: object) -> Said:
        capsys.readouterr()
        with speaking("command line"):
            code = cli._run([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def score(run: Run, teacher: Path) -> Run:
    """``dametric score`` with the teacher, four batches of 32, two augmentations, unless other options are given."""

    def score(*arguments: object) -> Said:
        given = [str(argument) for argument in arguments]
        usual: list[object] = ["--dtype", "float32"] if "--dtype" not in given else []
        if not {"--teacher", "-t"} & set(given):
            usual += ["--teacher", teacher]
        if not {"--aug", "-a", "-c", "--config"} & set(given):
            usual += ["--aug", "identity", "--aug", "cutmix"]
        if not {"--batches", "--rel-se", "-c", "--config"} & set(given):
            usual += ["--batches", 4]
        if not {"--batch-size", "-c", "--config"} & set(given):
            usual += ["--batch-size", 32]
        if not {"--accuracy", "--no-accuracy"} & set(given):
            usual += ["--no-accuracy"]
        return run("score", *usual, *given)

    return score


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """The one line that a command which cannot be done says on stderr; exit code 2 and nothing on stdout."""

    def refused(*arguments: object, command: Run = run) -> str:
        said = command(*arguments)
        assert said.code == 2, said.err or said.out
        assert said.out == ""
        line = said.err.splitlines()[-1]
        assert said.err.count("dametric: ") == 1
        assert line.startswith("dametric: ")
        assert "Traceback" not in said.err
        return line

    return refused


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    """The training split of the bundled digits."""
    return load_data("digits", "train", quiet=True)


def save(path: Path, model: nn.Module, data: ImageSet) -> Path:
    about = {"classes": data.classes, "mean": data.mean, "std": data.std, "data": data.name}
    return save_checkpoint(path, model, arch="resnet8", image_size=data.image_size, **about)


@pytest.fixture(scope="module", autouse=True)
def small_networks(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether resnet8 has two layers: in all modules but those that start processes, or are of real networks."""
    if getattr(request.module, "REAL_NETWORKS", False):
        yield False
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "resnet8", Small)
        patch.setattr(many, "group_in_a_process", group_in_a_process)
        forget_shapes()
        yield True
    forget_shapes()


@pytest.fixture(scope="module")
def teacher(small_networks: bool, tmp_path_factory: pytest.TempPathFactory, digits: ImageSet) -> Path:
    """A checkpoint of a resnet8 that knows the digits well enough, with everything in it."""
    torch.manual_seed(0)
    model = build("resnet8", 10, 32)
    recipe = Recipe(
        epochs=1, batch_size=16, lr=0.1, schedule="onecycle", nesterov=True, base_aug="identity", objective=LABELS
    )
    Training(model, digits, recipe, torch.device("cpu")).run_epoch()
    return save(tmp_path_factory.mktemp("teacher") / "teacher.pth", model, digits)


@pytest.fixture(scope="module")
def untrained(small_networks: bool, tmp_path_factory: pytest.TempPathFactory, digits: ImageSet) -> Path:
    """A checkpoint of a resnet8 that knows nothing; a student too."""
    torch.manual_seed(1)
    return save(tmp_path_factory.mktemp("untrained") / "untrained.pth", build("resnet8", 10, 32), digits)
