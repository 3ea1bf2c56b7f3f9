"""Devices and dtypes as users name them, from Python."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import dametric
from dametric import ImageSet, UsageError
from dametric.models import build
from dametric.models.computing import DTYPES, chosen_device, chosen_dtype

CPU = torch.device("cpu")


def test_what_is_none_is_refused_in_one_line_before_any_work(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageSet.from_tensors(images, torch.arange(40) % 4)
    network = build("resnet8", 4, 32)
    run: dict[str, Any] = {"out": tmp_path, "epochs": 1}
    study = {"data": "nowhere", "teachers": ["resnet8"], "pairs": ["resnet8 -> resnet8"], "augmentations": ["flip"]}
    short: dict[str, Any] = {"budget": "9steps", "steps": 9, "output": tmp_path / "choice"}
    for wrong, says in (
        ({"device": "gpu"}, "unknown device 'gpu': cpu, cuda or cuda:0"),
        ({"device": 3.5}, "unknown device '3.5': cpu, cuda or cuda:0"),
        ({"device": "mps"}, "device mps is not supported: cpu or cuda"),
        ({"device": torch.device("xpu", 1)}, "device xpu:1 is not supported: cpu or cuda"),
        ({"device": "meta"}, "device meta is not supported: cpu or cuda"),
        ({"device": "cpu", "dtype": "float33"}, "unknown dtype 'float33': did you mean float32"),
        ({"device": "cpu", "dtype": torch.int32}, "unknown dtype 'int32': "),
        ({"device": "cpu", "dtype": 32}, "unknown dtype '32': "),
    ):
        options: dict[str, Any] = {**wrong, "quiet": False}
        for call in (
            lambda options=options: dametric.score(network, data, ["flip"], **options),
            lambda options=options: dametric.distill(network, "resnet8", (data, data), **run, **options),
            lambda options=options: dametric.train("resnet8", (data, data), **run, **options),
            lambda options=options: dametric.distill_all(network, "resnet8", (data, data), ["flip"], **run, **options),
            lambda options=options: next(
                dametric.choose(network, "resnet8", (data, data), ["flip"], **short, **options)
            ),
            lambda options=options: dametric.sweep(study, tmp_path / "study", **options),
            lambda options=options: dametric.plan(study, tmp_path / "study", **options),
        )[: 5 if "dtype" in wrong else None]:  # a sweep's are its grid's
            with pytest.raises(UsageError) as error:
                call()
            assert str(error.value).startswith(says)
            assert "\n" not in str(error.value)
            assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


def test_names_and_torchs_own_objects_are_the_same() -> None:
    assert chosen_device("cpu") == chosen_device(torch.device("cpu")) == CPU
    for name in DTYPES:
        assert chosen_dtype(name, CPU) is chosen_dtype(getattr(torch, name), CPU) is getattr(torch, name)


def test_a_ledger_is_distilled_from_a_file(tmp_path: Any) -> None:
    images = torch.zeros(40, 3, 32, 32, dtype=torch.uint8)
    data = ImageSet.from_tensors(images, torch.arange(40) % 4)
    with pytest.raises(UsageError, match=r"distill_all takes the file of a teacher, not a .*save_checkpoint") as error:
        dametric.distill_all(build("resnet8", 4, 32), "resnet8", (data, data), ["flip"], out=tmp_path, epochs=1)
    assert "\n" not in str(error.value)
