"""Steps that are recorded once and replayed: as on CUDA, on the same memory, without the host in between.

No GPU is needed: what is dispatched in a step is recorded with the tensors that it reads and writes, and replayed on
these. Whatever the host decided, or read, would be frozen; here as there. What is left to tests with a GPU is whether
CUDA can capture these kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from dametric.augment import policy, static
from dametric.augment.base import whole
from dametric.data import ImageSet
from dametric.models import build
from dametric.models.network import Network
from dametric.training import LABELS, Objective, Recipe, Training, trainer
from dametric.training.graph import WARM_UP, CudaRecorder, GraphedSteps, graphed
from dametric.training.trainer import advance_together
from tests.loops import each
from tests.training.conftest import CLASSES

CPU = torch.device("cpu")
PICKS = [f"cutmixpick:by={by}" for by in ("teacher_entropy", "student_entropy", "kld", "dissimilarity")]
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select")
Make = Callable[..., nn.Module]
Ask = Callable[..., Network]


class Recording(TorchDispatchMode):
    """Every call with its arguments and results; refuses those for which a host would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[tuple[int, Tensor]]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in WAITS, f"the host waits for {func}"
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        results = [(n, value) for n, value in enumerate(tree_flatten(result)[0]) if isinstance(value, Tensor)]
        held = {_memory(value) for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)}
        new = [(n, value) for n, value in results if _memory(value) not in held]
        written = any(argument.alias_info is not None and argument.alias_info.is_write for argument in _arguments(func))
        if new or written:  # views stay what they are
            self.calls.append((func, args, kwargs, new))
        return result

    def replay(self) -> None:
        with torch.inference_mode():
            for func, args, kwargs, kept in self.calls:
                result = tree_flatten(func(*args, **kwargs))[0]
                for n, place in kept:
                    place.copy_(result[n])


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


def _arguments(func: Any) -> list[Any]:
    return list(func._schema.arguments)


class PlainRecorder:
    """Records on a CPU. Recording carries out the step, so that the first replay has nothing to do."""

    rate_dtype = torch.float64

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def has_drawn(self, device: torch.device) -> bool:
        return not torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(torch.initial_seed()).get_state())

    def streams(self, count: int) -> Sequence[torch.cuda.Stream]:
        return []

    def record(self, body: Callable[[], None]) -> Callable[[], None]:
        with Recording() as recording:
            body()
        self.recorded += 1
        done = [True]

        def replay() -> None:
            if done:
                done.pop()
            else:
                recording.replay()
                self.replayed += 1

        return replay


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> PlainRecorder:
    """Steps are recorded, and policies are in the form that a GPU takes."""
    plain = PlainRecorder()
    monkeypatch.setattr(trainer, "graphed", partial(graphed, recorder=plain))
    monkeypatch.setattr(
        policy, "grouped", lambda name, images, draw: static.applied(whole(images), draw["operation"], draw["strength"])
    )
    return plain


def recipe(aug: str, **options: Any) -> Recipe:
    usual: dict[str, Any] = {"epochs": 3, "batch_size": 5, "schedule": "cosine", "base_aug": "crop:padding=1+flip"}
    return Recipe(**{**usual, "aug": aug, **options})


def states(training: Training, epochs: int = 3) -> Iterator[dict[str, Tensor]]:
    for _ in range(epochs):
        training.run_epoch()
        momentum = {f"momentum.{n}": value for n, value in enumerate(training.state()["momentum"].values())}
        weights = {name: value.clone() for name, value in training.model.state_dict().items()}
        yield {**weights, **momentum, "terms": training.terms.clone()}


def assert_same(ours: Training, theirs: Training, plain: PlainRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = list(states(ours))
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "graphed", graphed)  # on a CPU nothing is recorded by itself
        expected = list(states(theirs))
    assert theirs.graphs is None
    for epoch, (one, other) in enumerate(zip(recorded, expected, strict=True)):
        for name, value in one.items():
            assert torch.equal(value, other[name]), (epoch, name)


@each("aug", ["identity", "mixup", "cutmix", "crop:padding=1+flip", "autoaugment:policy=cifar10", *PICKS])
@each("dtype", ["float32"])
def test_replayed_steps_are_the_ordinary_ones_to_the_bit(
    aug: str, dtype: str, network: Make, data: ImageSet, asked: Ask, recorder: PlainRecorder, monkeypatch: Any
) -> None:
    before = recorder.replayed

    def made() -> Training:
        options = recipe(aug, dtype=dtype, objective=Objective(ce=0.5, raw=0.3, aug=0.7))
        return Training(network(), data, options, CPU, teacher=asked(getattr(torch, dtype)))

    ours = made()
    assert_same(ours, made(), recorder, monkeypatch)
    assert recorder.replayed - before == 3 * 4 - WARM_UP - 1
    assert ours.graphs is None, "let go at the end, since a graph and its networks keep each other"


def test_learning_from_labels_is_replayed_without_momentum_too(
    network: Make, data: ImageSet, recorder: PlainRecorder, monkeypatch: Any
) -> None:
    for momentum in (0.0, 0.9):
        options = recipe("identity", objective=LABELS, base_aug="cutmix", momentum=momentum, nesterov=momentum > 0)
        ours, theirs = (Training(network(), data, options, CPU) for _ in range(2))
        assert_same(ours, theirs, recorder, monkeypatch)
    assert recorder.recorded == 2


def test_networks_in_lockstep_are_one_recording(
    network: Make, data: ImageSet, asked: Ask, recorder: PlainRecorder, monkeypatch: Any
) -> None:
    def members() -> list[Training]:
        augs = ("cutmix", "mixup", "cutmixpick:by=student_entropy")
        return [Training(network(), data, recipe(aug), CPU, teacher=asked(torch.float32)) for aug in augs]

    ours, theirs = members(), members()
    for until in (4, 8):
        advance_together(ours, until)
    assert recorder.recorded == 1
    assert recorder.replayed == 8 - WARM_UP - 1
    monkeypatch.setattr(trainer, "graphed", graphed)
    for one, other in zip(ours, theirs, strict=True):
        for until in (4, 8):
            advance_together([other], until)
        for name, value in one.model.state_dict().items():
            assert torch.equal(value, other.model.state_dict()[name]), name
        assert torch.equal(one.terms, other.terms)


def test_a_restored_network_is_recorded_anew(
    network: Make, data: ImageSet, asked: Ask, recorder: PlainRecorder, monkeypatch: Any
) -> None:
    def made() -> Training:
        return Training(network(), data, recipe("cutmix", epochs=6), CPU, teacher=asked(torch.float32))

    ours, theirs = made(), made()
    ours.run_epoch()
    weights, state = {k: v.clone() for k, v in ours.model.state_dict().items()}, ours.state()
    ours.run_epoch()
    ours.model.load_state_dict(weights)
    ours.restore(state)
    ours.run_epoch()
    ours.run_epoch()
    assert recorder.recorded == 2
    monkeypatch.setattr(trainer, "graphed", graphed)
    for _ in range(3):
        theirs.run_epoch()
    for name, value in ours.model.state_dict().items():
        assert torch.equal(value, theirs.model.state_dict()[name]), name


def test_each_candidate_of_a_mixture_has_its_recording(
    network: Make, data: ImageSet, asked: Ask, recorder: PlainRecorder, monkeypatch: Any
) -> None:
    from dametric.augment import parse
    from dametric.augment.branches import Mixture

    mixture = Mixture.of([parse("cutmix"), parse("mixup"), parse("identity")])

    def made() -> Training:
        options = recipe("identity", epochs=6)
        return Training(network(), data, options, CPU, teacher=asked(torch.float32), aug=mixture)

    ours, theirs = made(), made()
    recorded = list(states(ours, 6))
    assert recorder.recorded == 3
    monkeypatch.setattr(trainer, "graphed", graphed)
    for one, other in zip(recorded, states(theirs, 6), strict=True):
        for name, value in one.items():
            assert torch.equal(value, other[name]), name


class OwnNetwork(nn.Linear):
    """Code that might do something else at every step."""


def darker(images: Tensor) -> Tensor:
    return images // 2


def test_what_may_change_from_step_to_step_is_not_recorded_which_is_said(
    network: Make, data: ImageSet, asked: Ask, recorder: PlainRecorder, monkeypatch: Any, capsys: Any
) -> None:
    from dametric.base import terminal

    own = nn.Sequential(nn.Flatten(), OwnNetwork(192, CLASSES))
    cases: list[tuple[nn.Module, str, dict[str, Any], str]] = [
        (network("dropout"), "cutmix", {}, "the network draws random numbers"),
        (own, "cutmix", {}, "the network's OwnNetwork is your own code"),
        (network(), "./test_graph.py:darker", {}, "darker is your own code"),
        (network(), "rand-m9-n2", {}, "the host waits for"),
    ]
    monkeypatch.chdir(__file__.rpartition("/")[0])
    for model, aug, options, why in cases:
        terminal.note_once.cache_clear()  # type: ignore[attr-defined]
        training = Training(model, data, recipe(aug, **options), CPU, teacher=asked(torch.float32))
        capsys.readouterr()
        training.run_epoch()
        training.run_epoch()
        said = [line for line in capsys.readouterr().err.splitlines() if "kernel by kernel" in line]
        assert len(said) == 1, (aug, said)
        assert why in said[0], (aug, said)
        assert training.number == 8
    assert not recorder.recorded


def test_on_a_cpu_and_compiled_nothing_is_recorded(network: Make, data: ImageSet, asked: Ask) -> None:
    training = Training(network(), data, recipe("cutmix"), CPU, teacher=asked(torch.float32))
    training.run_epoch()
    assert training.graphs is None
    training.compiled = True

    def step(pixels: Tensor, labels: Tensor) -> None:
        pass

    training.device = torch.device("cuda")
    assert graphed([training], step, lambda *rest: None) is step


@pytest.mark.gpu
@each("aug", ["identity", "mixup", "cutmix", "crop+flip", "cutout:length=8", "autoaugment", "trivialaugment", *PICKS])
@each("dtype", ["float32", "bfloat16"])
def test_a_cuda_graph_learns_what_ordinary_steps_learn(aug: str, dtype: str, monkeypatch: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (640, 3, 32, 32), dtype=torch.uint8, generator=generator)
    data = ImageSet.from_tensors(images, torch.arange(640) % 10, mean=(0.5,) * 3, std=(0.25,) * 3, name="noise")

    def made() -> Training:
        torch.manual_seed(0)
        student, module = build("resnet8", 10, 32), build("resnet20", 10, 32).cuda().eval()
        teacher = Network(module, mean=data.mean, std=data.std, chunk=1024, dtype=torch.float32, device=device)
        objective = Objective(ce=0.5, raw=0.3, aug=0.7)
        options = Recipe(epochs=4, batch_size=64, aug=aug, dtype=dtype, lr=0.01, objective=objective)
        return Training(student, data, options, device, teacher=teacher)

    ours, theirs = made(), made()
    for _ in range(3):
        ours.run_epoch()
    assert isinstance(ours.graphs, GraphedSteps)
    assert not ours.graphs.refused
    assert len(ours.graphs.graphs) == 1
    monkeypatch.setattr(trainer, "graphed", lambda members, step, body: step)
    for _ in range(3):
        theirs.run_epoch()
    monkeypatch.undo()
    tolerance = 1e-2 if dtype == "float32" else 1e-1
    expected = pytest.approx(theirs.terms.flatten().tolist(), rel=tolerance, abs=tolerance)
    assert ours.terms.flatten().tolist() == expected


@pytest.mark.gpu
def test_networks_in_lockstep_learn_on_streams_of_their_own() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    recorder = CudaRecorder()
    assert len(recorder.streams(3)) == 3
