"""A run's id changes with everything that its result depends on, and with nothing else."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric.augment import ImageSpec, parse
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.models import build, load_checkpoint, save_checkpoint
from dametric.records.runs import run_id
from dametric.training import LABELS, Objective, Recipe, Teacher, TrainingContext, TrainingRun, distill
from dametric.training.context import weights_digest
from dametric.training.run import carry_out
from tests.loops import each

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.3, 0.2)
RECIPE = Recipe(epochs=1, batch_size=8, aug="cutmix")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def images(count: int = 20, seed: int = 0, **options: Any) -> ImageSet:
    """Random images of 8 x 8, in four classes."""
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=draw)
    usual: dict[str, Any] = {"labels": torch.arange(count) % 4, "mean": MEAN, "std": STD}
    return ImageSet.from_tensors(pixels, **{**usual, **options})


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return build("resnet8", 4, 8).eval()


@pytest.fixture(scope="module")
def teacher(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a normalisation of its own."""
    path = tmp_path_factory.mktemp("teacher") / "t.pth"
    return save_checkpoint(path, network, arch="resnet8", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), image_size=8)


@pytest.fixture
def context(teacher: Path) -> TrainingContext:
    train = images()
    return TrainingContext(train, images(12, 1, split="test"), CPU, Teacher.of(teacher, train))


def id_of(
    context: TrainingContext, student: str | nn.Module = "resnet8", recipe: Recipe = RECIPE, **options: Any
) -> str:
    return run_id(context.work(student, recipe, **options).config)


def changed(name: str, value: Any) -> Recipe:
    """The recipe with another value; steps stand in place of epochs."""
    return replace(RECIPE, **{name: value}, **({"epochs": None} if name == "steps" else {}))


# What changes the id

OTHER: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 9,
    "lr": 0.04,
    "schedule": "cosine",
    "momentum": 0.8,
    "nesterov": True,
    "weight_decay": 1e-4,
    "label_smoothing": 0.1,
    "base_aug": "flip",
    "aug": "mixup",
    "per": "batch",
    "objective": Objective(temperature=3.0),
    "joint_batch": True,
    "dtype": "float64",
    "seed": 1,
    "steps": 3,
}
OTHER_OBJECTIVE = {"ce": 0.2, "raw": 0.8, "aug": 0.7, "temperature": 2.0}
OTHER_OBJECTIVE |= {"term": f"{Path(__file__).resolve().parents[2] / 'examples' / 'loss_term.py'}:same_order"}


@each("name", [field.name for field in dataclasses.fields(Recipe)])
def test_every_field_of_the_recipe_changes_it(context: TrainingContext, name: str) -> None:
    assert id_of(context) != id_of(context, recipe=changed(name, OTHER[name]))


@each("name", [field.name for field in dataclasses.fields(Objective)])
def test_every_field_of_the_objective_changes_it(context: TrainingContext, name: str) -> None:
    other = Objective(**{name: OTHER_OBJECTIVE[name]})  # type: ignore[arg-type]
    assert id_of(context) != id_of(context, recipe=replace(RECIPE, objective=other))


def test_no_two_of_these_changes_give_the_same(context: TrainingContext) -> None:
    recipes = [changed(name, value) for name, value in OTHER.items()]
    recipes += [replace(RECIPE, objective=Objective(**{name: value})) for name, value in OTHER_OBJECTIVE.items()]
    assert len({id_of(context, recipe=recipe) for recipe in (RECIPE, *recipes)}) == len(recipes) + 1


def test_the_student_s_architecture_changes_it(context: TrainingContext) -> None:
    assert id_of(context) != id_of(context, "resnet14")


@each("split", ["train", "test"])
@each("what", ["pixel", "label", "order", "count"])
def test_the_data_change_it(context: TrainingContext, split: str, what: str) -> None:
    before: ImageSet = getattr(context, split)
    assert isinstance(before.images, Tensor)
    pixels, labels = before.images.clone(), before.labels.clone()
    if what == "pixel":
        pixels[3, 1, 2, 5] ^= 1
    elif what == "label":
        labels[5] = (labels[5] + 1) % 4
    elif what == "order":
        pixels, labels = pixels.roll(4, 0), labels.roll(4, 0)
    else:
        pixels, labels = pixels[:-4], labels[:-4]
    options: dict[str, Any] = {"classes": before.classes, "mean": MEAN, "std": STD, "split": split}
    assert id_of(context) != id_of(replace(context, **{split: ImageSet.from_tensors(pixels, labels, **options)}))


@pytest.mark.parametrize("name", ["mean", "std"])
def test_the_student_s_normalisation_changes_it(context: TrainingContext, name: str) -> None:
    assert id_of(context) != id_of(replace(context, train=replace(context.train, **{name: (0.5, 0.45, 0.41)})))


@pytest.mark.parametrize("name", ["mean", "std"])
def test_the_normalisation_of_the_test_images_changes_nothing_unnoticed(context: TrainingContext, name: str) -> None:
    """It changes the id if it changes the numbers, and only then."""
    other = replace(context, test=replace(context.test, **{name: (0.9, 0.9, 0.9)}))
    recipe = replace(RECIPE, base_aug="none")
    results = []
    for number, one in enumerate((context, other)):
        folder = Path(f"run{number}")
        results.append(carry_out(one.work("resnet8", recipe, folder=folder)).result.test_loss)
    assert (results[0] != results[1]) == (id_of(context, recipe=recipe) != id_of(other, recipe=recipe))


@pytest.mark.parametrize("name", ["mean", "std"])
def test_the_teacher_s_normalisation_changes_it(context: TrainingContext, teacher: Path, name: str) -> None:
    other = Teacher.of(teacher, context.train, **{name: (0.5, 0.6, 0.7)})
    assert id_of(context) != id_of(replace(context, teacher=other))


def test_the_teacher_s_weights_change_it(
    context: TrainingContext, network: nn.Module, teacher: Path, tmp_path: Path
) -> None:
    content = torch.load(teacher, weights_only=True)
    weight = next(name for name in content["model"] if name.endswith("running_var"))
    content["model"][weight][0] += 1e-3
    torch.save(content, tmp_path / "other.pth")
    assert id_of(context) != id_of(replace(context, teacher=Teacher.of(tmp_path / "other.pth", context.train)))
    first = id_of(replace(context, teacher=Teacher.of(network, context.train)))
    network.load_state_dict(content["model"])
    assert first != id_of(replace(context, teacher=Teacher.of(network, context.train)))


def test_having_no_teacher_changes_it(context: TrainingContext) -> None:
    """Even where the loss asks none."""
    recipe = replace(RECIPE, objective=LABELS)
    assert id_of(context, recipe=recipe) != id_of(replace(context, teacher=None), recipe=recipe)


Edit = Callable[[], None]


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], Edit]:
    """Write a file of the user's own, and give what edits it a second later, without changing its length."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, body: str, other: str) -> Edit:
        assert len(body) == len(other)
        path = tmp_path / name
        path.write_text(body)
        stat = path.stat()

        def edit() -> None:
            path.write_text(other)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))

        return edit

    return write


AUGS = "def fn(images):\n    return images.flip({})\n"


@pytest.mark.parametrize("field", ["aug", "base_aug"])
@pytest.mark.parametrize("spec", ["./augs.py:fn", "crop+./augs.py:fn", "augs:fn"])
def test_editing_an_augmentation_in_a_file_changes_it(
    context: TrainingContext,
    edited: Callable[[str, str, str], Edit],
    field: str,
    spec: str,
    request: pytest.FixtureRequest,
) -> None:
    if spec == "augs:fn":  # a module is imported once a process, under a name that no other test must have
        name = f"augs_{field}"
        edit = edited(f"{name}.py", AUGS.format(2), AUGS.format(3))
        spec = f"{name}:fn"
    else:
        edit = edited("augs.py", AUGS.format(2), AUGS.format(3))
    recipe = replace(RECIPE, **{field: spec})
    before = id_of(context, recipe=recipe)
    assert before == id_of(context, recipe=recipe)
    edit()
    assert before != id_of(context, recipe=recipe)


NETS = (
    "from torch import nn\n\n\ndef net(num_classes):\n"
    "    return nn.Sequential(nn.Flatten(), nn.Linear(192, {}), nn.ReLU(), nn.LazyLinear(num_classes))\n"
)


def test_editing_an_architecture_in_a_file_changes_it(
    context: TrainingContext, edited: Callable[[str, str, str], Edit]
) -> None:
    edit = edited("nets.py", NETS.format(16), NETS.format(24))
    before = id_of(context, "./nets.py:net")
    edit()
    assert before != id_of(context, "./nets.py:net")


def test_the_weights_that_training_starts_from_change_it(context: TrainingContext) -> None:
    torch.manual_seed(1)
    student = build("resnet8", 4, 8)
    before = id_of(context, student)
    assert before == id_of(context, student)
    with torch.no_grad():
        next(student.parameters())[0, 0, 0, 0] += 1e-6
    assert before != id_of(context, student)


def layers(between: nn.Module) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), between, nn.Linear(16, 4))


def test_networks_with_the_same_weights_that_compute_something_else_differ(context: TrainingContext) -> None:
    assert id_of(context, layers(nn.ReLU())) != id_of(context, layers(nn.Tanh()))


def test_teachers_with_the_same_weights_that_compute_something_else_differ(context: TrainingContext) -> None:
    ids = [
        id_of(replace(context, teacher=Teacher.of(layers(between), context.train)))
        for between in (nn.ReLU(), nn.Tanh())
    ]
    assert ids[0] != ids[1]


class Shift:
    """An augmentation with a setting that its repr does not tell."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels.roll(self.by, 3)

    def method(self, pixels: Tensor) -> Tensor:
        return self(pixels)


def shift(by: int) -> Callable[[Tensor], Tensor]:
    def shifted(pixels: Tensor) -> Tensor:
        return pixels.roll(by, 3)

    return shifted


def mirrored(pixels: Tensor) -> Tensor:
    return pixels.flip(3)


PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "functions": (mirrored, shift(1)),
    "lambdas": (lambda pixels: pixels.flip(3), lambda pixels: pixels.flip(2)),
    "closures": (shift(1), shift(2)),
    "objects": (Shift(1), Shift(2)),
    "methods": (Shift(1).method, Shift(2).method),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_augmentations_that_do_something_else_differ(context: TrainingContext, kind: str) -> None:
    of = ImageSpec(8, MEAN)
    ids = []
    for function in PAIRS[kind]:
        aug = parse(function, of)
        ids.append(id_of(context, recipe=replace(RECIPE, aug=aug.name), aug=aug))
    assert ids[0] != ids[1]


def test_two_lambdas_of_one_file_are_not_taken_for_each_other(teacher: Path, tmp_path: Path) -> None:
    """The second would be skipped as done, with the first one's numbers."""
    data = images(), images(12, 1)
    options: dict[str, Any] = {"epochs": 1, "batch_size": 8, "quiet": True, "device": "cpu", "dtype": "float32"}
    first = distill(teacher, "resnet8", data, lambda pixels: pixels, out=tmp_path, **options)
    second = distill(teacher, "resnet8", data, lambda pixels: 255 - pixels, out=tmp_path, **options)
    assert first.folder != second.folder
    assert first.record["last"]["train_loss"] != second.record["last"]["train_loss"]


# What does not


def test_the_same_again_gives_the_same(context: TrainingContext, teacher: Path) -> None:
    again = TrainingContext(images(), images(12, 1, split="test"), CPU, Teacher.of(teacher, images()))
    assert id_of(context) == id_of(again)
    assert id_of(context) == id_of(replace(context, teacher=Teacher.of(load_checkpoint(teacher), context.train)))
    assert id_of(context) == id_of(replace(context, teacher=Teacher.of(str(teacher), context.train)))


def test_the_folder_does_not_change_it(context: TrainingContext, tmp_path: Path) -> None:
    assert id_of(context) == id_of(context, root=tmp_path / "a")
    assert id_of(context) == id_of(context, folder=tmp_path / "b")


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1"])
def test_the_device_does_not_change_it(context: TrainingContext, name: str) -> None:
    """A run may go on where another machine left it; nothing is moved to a device before it is carried out."""
    assert id_of(context) == id_of(replace(context, device=torch.device(name)))


def test_names_and_notes_do_not_change_it(context: TrainingContext, tmp_path: Path, teacher: Path) -> None:
    named = replace(context.train, name="else", notes=("a note",))
    assert id_of(context) == id_of(replace(context, train=named))
    copy = tmp_path / "another name.pt"
    copy.write_bytes(teacher.read_bytes())
    assert id_of(context) == id_of(replace(context, teacher=Teacher.of(copy, context.train)))


def test_quietness_does_not_change_it(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"epochs": 1, "batch_size": 8, "out": tmp_path, "device": "cpu"}
    loud = distill(teacher, "resnet8", (images(), images(12, 1)), quiet=False, **options)
    assert "resnet8" in capsys.readouterr().err
    quiet = distill(teacher, "resnet8", (images(), images(12, 1)), quiet=True, **options)
    assert capsys.readouterr().err == ""
    assert quiet.folder == loud.folder
    assert quiet.record["timing"] == loud.record["timing"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("options", [{"temperature": 4}, {"lr": 1}, {"weight_decay": 0}, {"ce_weight": 1}])
def test_a_whole_number_is_the_same_as_a_real_one(teacher: Path, tmp_path: Path, options: dict[str, int]) -> None:
    """`lr=1` and `--lr 1`, which reads it as 1.0, are one run."""
    usual: dict[str, Any] = {"epochs": 1, "batch_size": 20, "out": tmp_path, "quiet": True, "device": "cpu"}
    data = images(), images(12, 1)
    distill(teacher, "resnet8", data, **usual, **options)
    distill(teacher, "resnet8", data, **usual, **{name: float(value) for name, value in options.items()})
    assert len(list(tmp_path.iterdir())) == 1


def test_the_process_s_random_state_does_not_change_the_result(context: TrainingContext) -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        record = carry_out(context.work("resnet8", RECIPE, folder=Path(f"run{seed}"))).document()
        assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(seed).get_state())
        results.append((record["id"], record["last"]))
    assert results[0] == results[1]


# Teachers


def test_a_teacher_is_normalised_as_asked_else_as_its_file_says_else_as_the_data_are(
    network: nn.Module, teacher: Path, tmp_path: Path
) -> None:
    data = images()
    asked = {"mean": (0.7, 0.7, 0.7), "std": (0.8, 0.8, 0.8)}
    silent = save_checkpoint(tmp_path / "silent.pth", network, arch="resnet8", image_size=8)
    for source, own in ((teacher, ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))), (silent, (MEAN, STD)), (network, (MEAN, STD))):
        found = Teacher.of(source, data)
        assert (found.mean, found.std) == own
        told = Teacher.of(source, data, **asked)
        assert (told.mean, told.std) == (asked["mean"], asked["std"])


def test_a_normalisation_that_cannot_be_is_refused(network: nn.Module) -> None:
    for options in (
        {"mean": (125.3, 123.0, 113.9)},
        {"mean": (0.5,)},
        {"std": (0.0, 0.1, 0.1)},
        {"mean": (float("nan"),) * 3},
    ):
        with pytest.raises(UsageError):
            Teacher.of(network, images(), **options)


def test_a_teacher_is_built_for_the_size_of_the_images_where_its_file_does_not_tell(tmp_path: Path) -> None:
    """VGG networks pool once more from 64 pixels on, which no weight shows."""
    torch.save(build("vgg8", 4, 64).state_dict(), tmp_path / "vgg.pth")
    for size, poolings in ((64, 4), (32, 3)):
        pixels = torch.zeros(4, 3, size, size, dtype=torch.uint8)
        found = Teacher.of(tmp_path / "vgg.pth", ImageSet.from_tensors(pixels, torch.arange(4), mean=MEAN, std=STD))
        assert found.model.poolings == poolings


def test_class_names_in_another_order_are_refused(network: nn.Module, tmp_path: Path) -> None:
    pixels = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    ours, theirs = (
        ImageSet.from_tensors(pixels, torch.arange(4), classes=list(names), mean=MEAN, std=STD)
        for names in ("abcd", "abdc")
    )
    with pytest.raises(UsageError, match=r"order their classes differently: number 2 is 'c' .* 'd'"):
        TrainingContext(ours, theirs, CPU)
    path = save_checkpoint(tmp_path / "ordered.pth", network, arch="resnet8", image_size=8, classes="abdc")
    with pytest.raises(UsageError, match=r"order their classes differently: number 2 is 'd' .* 'c'"):
        Teacher.of(path, ours)
    assert Teacher.of(path, theirs).arch == "resnet8"


def test_weights_are_told_apart_by_name_value_shape_and_type() -> None:
    class Plain(nn.Module):
        def __init__(self, **weights: Tensor) -> None:
            super().__init__()
            for name, weight in weights.items():
                self.register_buffer(name, weight)

    digests = [
        weights_digest(Plain(a=torch.zeros(4))),
        weights_digest(Plain(b=torch.zeros(4))),
        weights_digest(Plain(a=torch.zeros(2, 2))),
        weights_digest(Plain(a=torch.zeros(2, dtype=torch.float64))),
        weights_digest(Plain(a=torch.zeros(4).index_fill(0, torch.tensor(3), 1e-30))),
        weights_digest(Plain(a=torch.zeros(()))),
        weights_digest(Plain(a=torch.ones(()))),
        weights_digest(Plain(a=torch.zeros((), dtype=torch.int64))),
        weights_digest(Plain(a=torch.zeros(4), b=torch.zeros(()))),
    ]
    assert len(set(digests)) == len(digests)
    strided = torch.zeros(4, 2)[:, 0]
    assert weights_digest(Plain(a=strided)) == digests[0]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_are_the_same_in_any_layout_of_memory(context: TrainingContext, layout: torch.memory_format) -> None:
    torch.manual_seed(5)
    plain = build("resnet8", 4, 8)
    torch.manual_seed(5)
    laid = build("resnet8", 4, 8).to(memory_format=layout)  # type: ignore[call-overload]
    assert weights_digest(laid) == weights_digest(plain)
    assert id_of(context, laid) == id_of(context, plain)
    teachers = [Teacher.of(network, context.train).identity for network in (laid, plain)]
    assert teachers[0] == teachers[1]


# Data, and what a run is before it is carried out


def test_data_without_labels_or_that_do_not_agree_are_refused() -> None:
    plain = images()
    unlabelled = images(labels=None)
    for pair in ((unlabelled, plain), (plain, unlabelled)):
        with pytest.raises(UsageError, match="labelled"):
            TrainingContext(*pair, CPU)
    more = images(labels=torch.arange(20) % 5)
    larger = ImageSet.from_tensors(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.arange(4), mean=MEAN, std=STD)
    for other in (more, larger):
        with pytest.raises(UsageError, match="agree"):
            TrainingContext(plain, other, CPU)


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="class"):
        distill(
            build("resnet8", 7, 8),
            "resnet8",
            (images(), images(12, 1)),
            out=tmp_path / "runs",
            epochs=1,
            batch_size=8,
            quiet=True,
            device="cpu",
        )


def test_a_teacher_of_broken_weights_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    broken = build("resnet8", 4, 8)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(UsageError, match="not finite"):
        distill(broken, "resnet8", (images(), images(12, 1)), out=tmp_path / "runs", epochs=1, batch_size=8, quiet=True)


def test_naming_a_run_builds_and_writes_nothing(context: TrainingContext, tmp_path: Path) -> None:
    work = context.work("no such network", RECIPE, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert work.run.folder.parent == tmp_path / "runs"
    assert work.run.folder.name == f"resnet8-no_such_network-cutmix-s0-{run_id(work.config)}"
    assert work.title == "no such network, cutmix, seed 0"


def flat(model: nn.Module) -> Tensor:
    """All that a network has learnt, in one row."""
    return torch.cat([weight.detach().double().flatten() for weight in model.state_dict().values()])


def test_initial_weights_are_a_function_of_the_seed(context: TrainingContext) -> None:
    def weights(seed: int) -> Tensor:
        return flat(context.work("resnet8", replace(RECIPE, seed=seed)).training.model)

    torch.manual_seed(9)
    first = weights(1)
    torch.manual_seed(10)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))
    torch.manual_seed(1)
    assert torch.equal(first, flat(build("resnet8", 4, 8)))


def test_a_network_to_start_from_is_copied(context: TrainingContext, tmp_path: Path) -> None:
    torch.manual_seed(5)
    student = build("resnet8", 4, 8)
    before, mode = flat(student), student.training
    work: TrainingRun = context.work(student, RECIPE, folder=tmp_path / "run")
    assert torch.equal(flat(work.training.model), before)
    carry_out(work)
    assert torch.equal(flat(student), before)
    assert student.training == mode
    assert not torch.equal(flat(work.training.model), before)


def test_the_network_of_a_run_can_be_had(context: TrainingContext, teacher: Path, tmp_path: Path) -> None:
    """Whether it was named or given."""
    options: dict[str, Any] = {"epochs": 1, "batch_size": 8, "out": tmp_path, "quiet": True, "device": "cpu"}
    for student in ("resnet8", build("resnet8", 4, 8)):
        done = distill(teacher, student, (context.train, context.test), **options)
        assert not done.model.training
        kept = torch.load(done.folder / "last.pt", weights_only=True)["model"]
        assert all(torch.equal(kept[name], weight) for name, weight in done.model.state_dict().items())


def test_the_teacher_is_left_as_it_was(network: nn.Module, context: TrainingContext, tmp_path: Path) -> None:
    network.train()
    try:
        before = flat(network)
        options: dict[str, Any] = {"epochs": 1, "batch_size": 8, "out": tmp_path, "quiet": True, "device": "cpu"}
        distill(network, "resnet8", (context.train, context.test), "flip", **options)
        assert network.training
        assert torch.equal(flat(network), before)
        assert all(parameter.requires_grad for parameter in network.parameters())
    finally:
        network.eval()
