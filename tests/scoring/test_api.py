"""`dametric.score` from Python: what it takes, what it refuses, and what it leaves alone."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

import dametric
from dametric import ImageSet, UsageError, score
from dametric.augment import PAPER, Augmentation, parse
from dametric.augment.external import External
from dametric.models import Checkpoint
from tests.loops import each

QUICK: dict[str, Any] = {"batch_size": 16, "batches": 3, "dtype": torch.float32, "device": "cpu", "quiet": True}


def quick(*args: Any, **options: Any):
    return score(*args, **(QUICK | options))


def test_the_public_name_is_the_function() -> None:
    assert dametric.score is score


def test_tensors_and_image_sets_of_the_same_pixels_give_the_same(teacher, images) -> None:
    labels = torch.arange(len(images)) % 5
    forms = [images, (images, labels), ImageSet.from_tensors(images, labels)]
    results = [quick(teacher, data, ["flip", "mixup"]) for data in forms]
    assert results[0].scores == results[1].scores == results[2].scores


def test_labels_are_not_used(teacher, images) -> None:
    results = [quick(teacher, (images, torch.full((500,), k)), "mixup") for k in (0, 3)]
    assert results[0].scores == results[1].scores


@pytest.mark.parametrize("form", ["cutmix", ["cutmix"], ("cutmix",), parse("cutmix")])
def test_one_augmentation_may_be_given_in_any_form(form, teacher, data) -> None:
    assert quick(teacher, data, form).scores == quick(teacher, data, "cutmix").scores


def test_the_papers_nine_with_a_student_and_eight_without(teacher, student, data) -> None:
    assert {row["aug"] for row in quick(teacher, data, student=student, batches=2).scores} == set(PAPER)
    without = {row["aug"] for row in quick(teacher, data, batches=2).scores}
    assert without == set(PAPER) - {"cutmixpick:by=student_entropy"}


def test_an_augmentation_asked_for_twice_is_scored_once(teacher, data) -> None:
    assert len(quick(teacher, data, ["flip", "flip", "paper"], batches=2).scores) == len(PAPER) - 1


def test_what_is_another_augmentation_under_a_second_name_is_known(teacher, data, capsys) -> None:
    augs = ["pick(cutmix)", "cutmixpick", "rotate:degrees=0", "identity", "crop", "crop+blur:sigma=0"]
    scores = quick(teacher, data, augs, batches=4, quiet=False)
    said = capsys.readouterr().err.splitlines()
    assert {row.aug: row.same_as for row in scores.rows} == {
        **dict.fromkeys(("pick(cutmix)", "identity", "crop")),
        "rotate:degrees=0": "identity",
        "crop+blur:sigma=0": "crop",
    }
    values = {row.aug: row.metrics["t_stddev"] for row in scores.rows}
    assert values["rotate:degrees=0"] == values["identity"]
    assert values["crop+blur:sigma=0"] == values["crop"]
    for line in ("cutmixpick is pick(cutmix): scored once", "crop+blur:sigma=0 is crop: the same images"):
        assert said.count(line) == 1
    (zero,) = [line for line in said if "rotate:degrees=0" in line]
    assert "rotate:degrees=0 is identity: it changed none of" in zero
    again = score(teacher, data, ["cutmixpick"], add=scores, device="cpu")
    assert again.scores == scores.scores
    assert "cutmixpick is pick(cutmix), which is in the file: it is not scored again" in capsys.readouterr().err


def test_a_callable_given_twice_is_scored_once(teacher, data) -> None:
    class Mirror:
        def __call__(self, images: Tensor) -> Tensor:
            return images.flip(-1)

    one, other = Mirror(), Mirror()
    for twice in ([one, one], [one.__call__, one.__call__], [Augmentation("a", (External("a", one),))] * 2):
        assert len(quick(teacher, data, twice, batches=2).scores) == 1
    assert len(quick(teacher, data, [one, other, one, other], batches=2).scores) == 2


def test_all_metrics_that_can_be_computed_by_default(teacher, student, data) -> None:
    of_teacher = ["t_stddev", "t_stddev_rms", "t_stddev_aug", "t_entropy", "t_gini", "t_conf", "information_kept"]
    assert quick(teacher, data, "flip").metrics == of_teacher
    assert quick(teacher, data, "flip", student=student).metrics == [*of_teacher, "ce_mean", "ce_std", "ce_cov"]


def test_the_users_own_callable_is_an_augmentation(teacher, data) -> None:
    def mirror(images: Tensor) -> Tensor:
        return images.flip(-1)

    always = quick(teacher, data, ["flip:p=1", mirror])
    rows = {row["aug"].rpartition(".")[2]: row["metrics"] for row in always.scores}
    assert rows["mirror"] == rows["flip:p=1"]


def test_a_transform_of_torchvision_is_an_augmentation(teacher, data) -> None:
    result = quick(teacher, data, [v2.RandomRotation(30), "identity"])
    names = {row["aug"]: row["metrics"]["t_stddev"]["value"] for row in result.scores}
    assert set(names) == {"RandomRotation", "identity"}
    assert names["RandomRotation"] != names["identity"]


def test_different_callables_of_one_name_are_not_taken_for_one(teacher, data) -> None:
    small, large = v2.RandomRotation(5), v2.RandomRotation(90)
    expected = [quick(teacher, data, one).scores[0]["metrics"]["t_stddev"]["value"] for one in (small, large)]
    assert expected[0] != expected[1]
    found = quick(teacher, data, [small, large]).scores
    assert sorted(row["metrics"]["t_stddev"]["value"] for row in found) == sorted(expected)
    assert len({row["aug"] for row in found}) == 2


def test_a_seeded_callable_gives_the_same_whatever_the_chunk(teacher, data) -> None:
    def own(images: Tensor) -> Tensor:
        return (images + torch.randint(0, 60, (1,), dtype=torch.uint8)).to(torch.uint8)

    for per in ("sample", "batch"):
        values = [
            quick(teacher, data, own, per=per, chunk=chunk, batches=8).scores[0]["metrics"]["t_stddev"]["value"]
            for chunk in (16, 4096)
        ]
        assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_the_networks_are_left_as_they_were(teacher, student, data) -> None:
    class Calls:
        count = 0

    models = [copy.deepcopy(teacher), copy.deepcopy(student)]
    handles = []
    for model in models:
        model.train()
        model.body[1].eval()  # mixed modes are the user's business
        model.head.requires_grad_(False)
        handles.append(model.register_forward_hook(lambda *_: None))
    before = [
        (
            [module.training for module in model.modules()],
            {name: value.clone() for name, value in model.state_dict().items()},
            [(p.requires_grad, p.data_ptr(), p.dtype, p.is_contiguous()) for p in model.parameters()],
            list(model._forward_hooks),
            [type(module) for module in model.modules()],
        )
        for model in models
    ]
    quick(models[0], data, ["flip", "cutmixpick:by=kld"], student=models[1])
    for model, (training, state, parameters, hooks, kinds) in zip(models, before, strict=True):
        assert [module.training for module in model.modules()] == training
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert [(p.requires_grad, p.data_ptr(), p.dtype, p.is_contiguous()) for p in model.parameters()] == parameters
        assert list(model._forward_hooks) == hooks
        assert [type(module) for module in model.modules()] == kinds


def test_a_network_in_training_mode_is_scored_as_in_evaluation_mode(teacher, data) -> None:
    training = copy.deepcopy(teacher).train()
    assert quick(training, data, "flip").scores == quick(teacher, data, "flip").scores


def test_the_images_are_left_as_they_were(teacher, images) -> None:
    kept = images.clone()
    quick(teacher, images, "paper")
    assert torch.equal(images, kept)


def test_default_dtype_device_and_grad_mode_are_left_as_they_were(teacher, data) -> None:
    assert torch.is_grad_enabled()
    quick(teacher, data, "flip")
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


def test_normalisation_is_the_callers_or_else_the_sets_own(teacher, images, data) -> None:
    given = quick(teacher, images, "flip", mean=data.mean, std=data.std)
    assert given.scores == quick(teacher, data, "flip").scores
    assert quick(teacher, images, "flip").scores != given.scores
    assert given.config["mean"] == list(data.mean)


def test_a_checkpoint_brings_its_normalisation_and_its_hash(teacher, student, data) -> None:
    own = {"mean": (0.3, 0.4, 0.5), "std": (0.2, 0.3, 0.4)}
    theirs = {"mean": (0.6, 0.5, 0.4), "std": (0.5, 0.4, 0.3)}

    def kept(network: nn.Module, name: str, of: dict[str, Any]) -> Checkpoint:
        return Checkpoint(network, "own", 5, None, None, **of, data=None, sha256=name, notes=("",))

    ours, other = kept(teacher, "ab", own), kept(student, "cd", theirs)
    found = quick(ours, data, "flip", student=other)
    told = {"student_mean": theirs["mean"], "student_std": theirs["std"]}
    assert found.scores == quick(teacher, data, "flip", student=student, **own, **told).scores
    assert found.config["teacher"] == {"arch": "own", "sha256": "ab"}
    assert found.config["student"] == {"arch": "own", "sha256": "cd"}
    assert quick(ours, data, "flip", **theirs).config["mean"] == list(theirs["mean"])
    refused("order their classes differently", replace(ours, classes=data.classes[::-1]), data)


def test_temperature_flattens_the_rows(teacher, data) -> None:
    cold, hot = (
        quick(teacher, data, "flip", temperature=t).scores[0]["metrics"]["t_entropy"]["value"] for t in (1.0, 8.0)
    )
    assert cold < hot < math.log(5)


def test_everything_the_number_depends_on_is_recorded(teacher, data) -> None:
    result = quick(teacher, data, ["flip", "cutmix:alpha=0.5"], seed=3, temperature=2.0, provenance={"checkpoint": "x"})
    config = result.config
    assert {
        "metrics", "protocol", "per", "n", "G", "b", "w", "temperature", "partner", "base_aug", "mean", "std", "seed",
        "batches", "epochs", "rel_se", "rel_se_reached", "device", "dtype", "chunk", "compile_seconds", "seconds",
        "data",
    } <= set(config)  # fmt: skip
    assert (config["n"], config["G"], config["b"], config["w"]) == (80, 5, 16, 0.5)
    assert (config["seed"], config["temperature"], config["dtype"]) == (3, 2.0, "float32")
    assert (config["base_aug"], config["partner"], config["checkpoint"]) == ("crop+flip", "roll", "x")
    assert config["data"] == {"name": "tiny", "split": "train", "images": 500, "fingerprint": data.fingerprint}
    assert config["rel_se"] is None
    assert config["compile_seconds"] is None
    assert {"dametric", "torch", "torchvision", "python", "machine"} <= set(result.versions)
    parameters = {row["aug"]: row["parameters"] for row in result.scores}
    assert parameters["cutmix:alpha=0.5"][0]["alpha"] == 0.5
    assert parameters["cutmix:alpha=0.5"][0]["partner"] == "roll"
    reference = quick(teacher, data, ["mixup", "cutmix"], protocol="reference", batches=10)
    partners = {row["aug"]: row["parameters"][0]["partner"] for row in reference.scores}
    assert partners == {"mixup": "permutation", "cutmix": "derangement"}
    assert (reference.config["per"], reference.config["protocol"]) == ("batch", "reference")


def test_large_images_get_the_loaders_resized_crops(teacher) -> None:
    images = torch.randint(0, 256, (16, 3, 112, 112), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert quick(Pooled(), images, "identity", batches=2).config["base_aug"] == "rrc+flip"
    assert quick(Pooled(), images[..., :96, :96], "identity", batches=2).config["base_aug"] == "crop+flip"


class Pooled(nn.Module):
    """Channel means as logits."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def test_grey_images_are_scored_too() -> None:
    images = torch.randint(0, 256, (64, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    class Grey(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean(2)[:, 0, :4] * 3

    for row in quick(Grey(), images, ["flip", "cutout", "cutmix"]).scores:
        assert row["metrics"]["t_stddev"]["value"] > 0


def test_a_constant_teacher_has_no_spread_and_no_warning(data) -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), 4, dtype=images.dtype, device=images.device)

    for row in quick(Constant(), data, ["flip", "cutmixpick"]).scores:
        assert abs(row["metrics"]["t_stddev"]["value"]) < 1e-12
        assert row["metrics"]["t_entropy"]["value"] == pytest.approx(math.log(4))


def test_one_batch_an_epoch_still_has_a_spread_between_batches(teacher, images) -> None:
    """24 images in batches of 16: every epoch is one batch, and nothing can be centred within an epoch."""
    try:
        result = quick(teacher, images[:24], ["cutmixpick"], batches=20)
    except UsageError:
        return  # refused as too few images: just as well
    assert math.isfinite(result.scores[0]["metrics"]["t_stddev"]["value"])


@pytest.mark.parametrize("most", [0, 5, 25])
def test_the_largest_number_of_batches_is_kept_to_or_refused(most: int, teacher, data) -> None:
    try:
        result = quick(teacher, data, "flip", batches=None, rel_se=0.02, max_batches=most)
    except UsageError:
        assert most < 20
    else:
        assert result.config["batches"] <= most


def refused(message: str, *args: Any, **options: Any) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        score(*args, **({"quiet": True, "device": "cpu", "dtype": torch.float32, "batch_size": 16} | options))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@each(
    ("options", "message"),
    [
        ({"metrics": ["t_stdev"]}, "unknown metric 't_stdev': did you mean t_stddev"),
        ({"metrics": ["ce_mean"]}, "ce_mean needs a student's output"),
        ({"augs": "cutmx"}, "unknown augmentation 'cutmx': did you mean cutmix"),
        ({"augs": []}, "no augmentation"),
        ({"augs": "cutmixpick:by=student_entropy"}, "give one with student"),
        ({"augs": "cutmixpick:by=kld"}, "give one with student"),
        ({"rel_se": 0.0}, "rel_se is a number above 0 and below 1"),
        ({"rel_se": 1.0}, "rel_se is a number above 0 and below 1"),
        ({"rel_se": -0.01}, "rel_se is a number above 0 and below 1"),
        ({"rel_se": math.nan}, "rel_se is a number above 0 and below 1"),
        ({"batches": 1}, "batches is a whole number from 2 up"),
        ({"batches": 0}, "batches is a whole number from 2 up"),
        ({"batches": -5}, "batches is a whole number from 2 up"),
        ({"batches": 9, "protocol": "reference"}, "at least 2"),
        ({"batch_size": 3}, "batch_size is a whole number from 4 up"),
        ({"draw_batches": 0}, "draw_batches is a whole number from 1 up"),
        ({"raw_weight": 1.0}, "raw_weight is a number from 0 up and below 1"),
        ({"raw_weight": 0.3, "protocol": "reference"}, "raw weight is 0.5"),
        ({"temperature": 0}, "temperature is a number above 0"),
        ({"per": "epoch"}, "unknown value of per"),
        ({"batch_size": 501}, "500 images are fewer than one batch of 501"),
        ({"base_aug": "crop+flp"}, "unknown augmentation 'flp'"),
        ({"protocol": "referense", "batches": 3}, "protocol"),
        ({"mean": (0.5, 0.5), "batches": 3}, "mean"),
        ({"std": (0.5, 0.5), "batches": 3}, "std"),
        ({"mean": (125.3, 123.0, 113.9), "batches": 3}, "mean is in units of 0..1, divide by 255"),
        ({"std": (63.0, 62.1, 66.7), "batches": 3}, "std is in units of 0..1, divide by 255"),
        ({"std": (0.5, 0.0, 0.5), "batches": 3}, "std|normalisation"),
        ({"chunk": -1, "batches": 3}, "chunk"),
        ({"base_aug": "mixup", "batches": 3}, "base"),
        ({"base_aug": "cutmixpick", "batches": 3}, "base"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options: dict[str, Any], message: str, teacher, data) -> None:
    refused(message, teacher, data, **options)


def test_a_device_that_is_not_there_is_refused(teacher, data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused("there is no CUDA device", teacher, data, device="cuda")


def test_what_is_no_network_and_no_images_is_refused(teacher, data) -> None:
    refused("there is no checkpoint teacher.pth", "teacher.pth", data)
    refused(r"the teacher is a file, a network .* or a checkpoint .dametric.load_checkpoint., not int", 3, data)
    refused("the student is a file, a network .* not dict", teacher, data, student={})
    refused("the teacher has 5 classes and digits has 10", teacher, "digits", image_size=32)
    of_fewer = ImageSet.from_tensors(data.images, data.labels % 3)
    refused(
        "has 5 classes and .* has 3: give the images it was trained on, or accuracy=False",
        teacher,
        of_fewer,
        accuracy=True,
    )
    refused("no such file or folder: no/where", teacher, "no/where")
    refused("data are a name or a path, an image set .* not list", teacher, [data.images, data.labels])
    refused("image_size says how images are read, and these are in memory", teacher, data, image_size=8)


def test_pixels_that_are_not_bytes_are_refused(teacher, images) -> None:
    refused("uint8", teacher, images.float() / 255)


class Odd(nn.Module):
    """Answers other than one row of logits an image."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: Tensor) -> Any:
        logits = images.mean((2, 3))
        return {"map": images, "dict": {"one": logits, "two": logits}, "tuple": (logits, logits), "none": None}[
            self.answer
        ]


@pytest.mark.parametrize("answer", ["map", "dict", "tuple", "none"])
def test_a_network_that_returns_no_logits_is_refused(answer: str, data) -> None:
    refused("logits", Odd(answer), data, batches=3)


def test_a_student_of_other_classes_is_refused(teacher, data) -> None:
    refused("classes", teacher, data, "flip", student=Pooled(), batches=3)


@pytest.mark.parametrize(
    "function",
    [lambda images: images[..., :8], lambda images: images[0], lambda images: None],
    ids=["size", "rows", "none"],
)
def test_a_callable_that_returns_no_images_is_refused(function, teacher, data) -> None:
    refused("expected images of shape", teacher, data, function, batches=3)
    refused("expected images of shape", teacher, data, function, batches=3, per="batch")


def test_nothing_is_written_to_stdout_and_quiet_means_quiet(teacher, data, capsys) -> None:
    quick(teacher, data, "flip")
    assert capsys.readouterr() == ("", "")
    quick(teacher, data, "flip", quiet=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert "scoring" in err


def test_an_external_operation_is_made_of_a_callable() -> None:
    (operation,) = parse(lambda images: images).operations
    assert isinstance(operation, External)


def test_the_reference_protocol_shows_ten_epochs_by_default(teacher, data) -> None:
    small = data.subset(torch.arange(120))  # 8 batches of 16, the last one of 8
    result = quick(teacher, small, "identity", protocol="reference", batches=None)
    assert result.config["batches"] == 80
    assert result.config["epochs"] == 10
