"""What is asked for beyond all measure is refused at once, by limits that are stated."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import dametric
from dametric import UsageError, cli
from dametric.base import limits
from dametric.base.yaml_files import parsed
from dametric.data import ImageSet
from dametric.models import build
from dametric.sweeps.grid import read_grid
from dametric.training import Recipe

GRID: dict[str, Any] = {
    "data": "digits",
    "teachers": ["resnet8"],
    "pairs": ["resnet8 -> resnet8"],
    "augmentations": ["identity"],
}
LONG = "9" * 5000
TWENTY = list(range(1, 21))


def bomb(depth: int) -> str:
    """Lists that double: 2^depth values in a few lines."""
    lines = ["a0: &a0 [x, x]", *(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, depth))]
    return "\n".join([*lines, f"data: *a{depth - 1}\n"])


def test_grids_beyond_all_measure(tmp_path: Path) -> None:
    options = (
        "lr",
        "momentum",
        "weight_decay",
        "label_smoothing",
        "temperature",
        "ce_weight",
        "raw_weight",
        "aug_weight",
    )
    cases: list[tuple[str, str]] = [
        (
            yaml.safe_dump({**GRID, "training": dict.fromkeys(options, TWENTY)}),
            "training: its lists make 25,600,000,000",
        ),
        (
            yaml.safe_dump({**GRID, "teachers": {"resnet8": {"seed": list(range(1000)), "epochs": TWENTY}}}),
            "teacher resnet8",
        ),
        (
            yaml.safe_dump({**GRID, "augmentations": [{"cutmix": {f"p{k}": TWENTY for k in range(9)}}]}),
            "cutmix: its lists",
        ),
        (
            yaml.safe_dump(
                {
                    **GRID,
                    "pairs": [{"teacher": "resnet8", "student": [f"s{k}" for k in range(1000)]}],
                    "seeds": "0-9999",
                }
            ),
            "asks for 10,000,000 runs, at most 100,000",
        ),
        (yaml.safe_dump({**GRID, "seeds": "0-99999999"}), "at most 10000 seeds"),
        (yaml.safe_dump({**GRID, "exclude": [{"seed": 0}] * 1001}), "exclude has more than 1,000 lines"),
        (yaml.safe_dump({**GRID, "include": [{"seed": "0-9999", "epochs": TWENTY}]}), "asks for 200,000 runs"),
        (f"seeds: {LONG}\n", "is not YAML"),
        (yaml.safe_dump({**GRID, "seeds": LONG}), "seeds goes up to 2147483647"),
        (yaml.safe_dump({**GRID, "seeds": f"0-{LONG}"}), "seeds goes up to 2147483647"),
        (yaml.safe_dump({**GRID, "training": {"epochs": LONG}}), "epochs is a whole number"),
        (bomb(60), "stands for more than 100,000 values"),
        ("data: &a [*a]\n", "an alias stands within what it names"),
        ("data: " + "[" * 5000 + "]" * 5000, "more than 100 deep"),
        ("data: " + "- " * 5000, "more than 100 deep"),
        ("#" * (limits.YAML_BYTES + 1), "more than the 1,048,576 bytes"),
    ]
    for text, said in cases:
        path = tmp_path / "grid.yaml"
        path.write_text(text, encoding="utf-8")
        tracemalloc.start()
        start = time.monotonic()
        with pytest.raises(UsageError, match=said) as caught:
            read_grid(str(path))
        seconds, peak = time.monotonic() - start, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
        assert seconds < 4, f"{said}: with memory traced, which is several times slower"
        assert peak < 300e6, said


def test_a_grid_of_many_runs_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump({**GRID, "seeds": "0-4999"}), encoding="utf-8")
    assert len(read_grid(str(path)).rows) == 5000


def test_yaml_that_only_looks_like_values() -> None:
    for text in (
        "!!int ''",
        "!!bool x",
        "!!timestamp x",
        "2020-13-45",
        "!!float x",
        "? [a]\n: b",
        "<<: 3",
        "=",
        "!!python/object:os.system {}",
        "!!binary é",
    ):
        with pytest.raises(UsageError, match="is not YAML"):
            parsed(f"a: {text}" if not text.startswith("?") else text, "x")
    assert parsed("a: &b [1, 2]\nc: *b", "x") == {"a": [1, 2], "c": [1, 2]}
    assert parsed("", "x") is None


def test_numbers_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"seed: {LONG}\n")
    score = ["score", "--aug", "cutmix", "--teacher", "none.pth"]
    train = ["train", "--arch", "resnet8", "-o", str(tmp_path / "t.pth"), "--data", "digits", "-q"]
    distill = [
        "distill",
        "-t",
        "none.pth",
        "-s",
        "resnet8",
        "-a",
        "flip",
        "-o",
        str(tmp_path),
        "--data",
        "digits",
        "-q",
    ]
    for arguments, said in (
        ([*score, "--image-size", "100000000"], "--image-size"),
        ([*score, "--batches", str(10**12)], "--batches"),
        ([*score, "--batch-size", str(10**12)], "--batch-size"),
        ([*score, "--draw-batches", str(10**12)], "--draw-batches"),
        ([*score, "--seed", LONG], "--seed"),
        ([*score, "-c", str(tmp_path / "c.yaml")], "is not YAML"),
        ([*score, "-c", "/dev/zero"], "a pipe or a device"),
        ([*train, "--epochs", str(10**12)], "--epochs"),
        ([*train, "--steps", str(10**12)], "--steps"),
        ([*distill, "--seeds", LONG], "--seeds goes up to 2147483647"),
        ([*distill, "--seeds", "0-100000000"], "at most 10000 seeds"),
        ([*distill, "--jobs", str(10**9)], "--jobs"),
        ([*distill, "--eval-every", LONG], "--eval-every"),
        (["plan", "--rho", "0.5", "--augs", str(10**9)], "augs is at most 1,000"),
        (["plan", "--rho", "0.5", "--augs", "9", "--units", str(10**9)], "units is at most 1,000"),
        (["sweep", "none.yaml", "--shard", f"{LONG}/{LONG}"], "--shard"),
        (["sweep", "/dev/zero"], "a pipe or a device"),
    ):
        start = time.monotonic()
        assert cli._run(arguments) == 2, arguments
        captured = capsys.readouterr()
        assert time.monotonic() - start < 15, "most of it imports"
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1, captured.err
        assert len(captured.err) < 600, captured.err[:700]
        assert said in captured.err


class Wrong(nn.Module):
    """A network that does something else to the logits of a linear one."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.change = nn.Linear(192, 4), change

    def forward(self, images: Tensor) -> Tensor:
        return self.change(self.linear(images.flatten(1)))


def test_from_python() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    data = ImageSet.from_tensors(images, torch.arange(64) % 4)
    good = Wrong(lambda logits: logits)

    def score(teacher: nn.Module = good, **options: Any) -> Any:
        usual = {"batches": 4, "batch_size": 16, "quiet": True, "device": "cpu", "dtype": torch.float32}
        return dametric.score(teacher, data, "identity", **{**usual, **options})

    assert score().scores
    wrong: list[tuple[str, Callable[[], Any]]] = [
        (r"returns a tensor of shape \(4, 4\), not logits", lambda: score(Wrong(lambda logits: logits[::2]))),
        (r"returns a tensor of shape \(16, 4\), not logits", lambda: score(Wrong(lambda logits: logits.repeat(2, 1)))),
        ("logits of 0 classes", lambda: score(Wrong(lambda logits: logits[:, :0]))),
        ("batches is a whole number, not 2.5", lambda: score(batches=2.5)),
        ("batches is a whole number, not '4'", lambda: score(batches="4")),
        ("batches is at most", lambda: score(batches=10**12)),
        ("max_batches is a whole number", lambda: score(batches=None, max_batches=20.5)),
        ("seed is at most 8,796,093,022,207", lambda: score(seed=2**64)),
        ("seed is a whole number, not 1.5", lambda: score(seed=1.5)),
        ("seed is a whole number, not None", lambda: score(seed=None)),
        ("batch_size is a whole number", lambda: score(batch_size=16.0)),
        ("draw_batches is a whole number", lambda: score(draw_batches=2.5)),
        ("draw_batches is at most 10,000", lambda: score(draw_batches=10**12)),
        ("temperature is a number, not 'x'", lambda: score(temperature="x")),
        ("raw_weight is a number, not None", lambda: score(raw_weight=None)),
        ("rel_se is a number", lambda: score(batches=None, rel_se="x")),
        ("chunk is a whole number", lambda: score(chunk=2.5)),
        ("metrics are a list of names, not 3", lambda: score(metrics=3)),
        ("augmentations are names", lambda: dametric.score(good, data, 3)),  # type: ignore[arg-type]
        ("at least one class, not 0", lambda: build("resnet8", 0)),
        ("number of classes is a whole number, not 2.5", lambda: build("resnet8", 2.5)),  # type: ignore[arg-type]
        ("number of classes is at most 1,048,576", lambda: build("resnet8", 10**9)),
        ("image size is at most 4,096", lambda: build("resnet8", 10, 10**8)),
        ("seed is at most 2,147,483,647", lambda: Recipe(seed=2**64)),
        ("seed is at most 2,147,483,647", lambda: Recipe(seed=int("9" * 4000) * 10**2000)),
        ("epochs is at most 1,000,000", lambda: Recipe(epochs=10**12)),
        ("lr is a number, not 'x'", lambda: Recipe(lr="x")),  # type: ignore[arg-type]
    ]
    for said, call in wrong:
        with pytest.raises(UsageError, match=said):
            call()
