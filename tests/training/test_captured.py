"""What is compiled or captured: one graph, without breaks, that writes into nothing but batch norms' statistics.

Traced by torch's compiler without its back end, which takes minutes. A break would make the host wait within a step;
an input that is written into keeps a graph from being replayed, or lets it go on from what it wrote the last time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric.augment import AUGS, Augmentation, ImageSpec, Keys, parse
from dametric.data import ImageSet
from dametric.models import MODELS, build, inference_copy
from dametric.training import LABELS, Objective, Recipe, Training
from tests.loops import each

CPU = torch.device("cpu")
# parameters are drawn on the host, or, of rrc on a CPU alone, images are cut there
ON_THE_HOST = {"jpeg", "augmix", "rand", "rrc"}
FEW = {"identity", "flip", "crop", "cutout", "mixup", "cutmix", "cutmixpick", "rotate"}
QUICK = ("resnet8", "vgg8")
pytestmark = pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache:UserWarning")


class Traced:
    """A back end that runs what it is given, and notes which of its inputs that wrote into."""

    def __init__(self) -> None:
        self.graphs = 0
        self.written: set[int] = set()

    def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        self.graphs += 1

        def run(*given: Any) -> Any:
            tensors = [value for value in given if isinstance(value, Tensor)]
            versions = [value._version for value in tensors]
            result = graph.forward(*given)
            changed = zip(tensors, versions, strict=True)
            self.written |= {value.data_ptr() for value, version in changed if value._version != version}
            return result

        return run


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traced]:
    """``torch.compile`` with that back end; any break is an error."""
    backend, real = Traced(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda code, **_: real(code, backend=backend, fullgraph=True, dynamic=False))
    torch._dynamo.reset()
    yield backend
    torch._dynamo.reset()


def statistics(network: nn.Module) -> set[int]:
    return {buffer.data_ptr() for buffer in network.buffers()}


@each(
    ("aug", "options"),
    [
        ("cutmix", {"objective": Objective(ce=0.5, raw=0.3, aug=0.7)}),
        ("cutmixpick:by=kld", {"objective": Objective(ce=0.1, raw=0.9, aug=0.9), "dtype": "bfloat16"}),
        ("mixup", {"objective": Objective(ce=0.5, raw=0.3, aug=0.7), "joint_batch": True}),
        ("cutmix", {"objective": LABELS, "base_aug": "crop+flip+mixup", "label_smoothing": 0.1}),
    ],
)
def test_the_loss_is_one_graph_that_writes_into_statistics_alone(
    aug: str, options: dict[str, Any], network: Any, data: ImageSet, asked: Any, traced: Traced
) -> None:
    recipe = Recipe(**{"steps": 2, "batch_size": 5, "aug": aug, "base_aug": "crop:padding=1+flip", **options})
    before = traced.graphs
    learner = Training(network(), data, recipe, CPU, teacher=asked(torch.float32), compile=True)
    learner.run_epoch()
    assert traced.graphs == before + 1
    assert traced.written
    assert traced.written <= statistics(learner.model), "an input of the captured step is written into"
    traced.written.clear()


@pytest.mark.parametrize("names", [QUICK, pytest.param(tuple(MODELS), marks=pytest.mark.slow)], ids=["few", "all"])
def test_every_architecture_is_one_graph_in_training_and_for_scores(names: tuple[str, ...], traced: Traced) -> None:
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageSet.from_tensors(images, torch.arange(4), mean=(0.5,) * 3, std=(0.25,) * 3, name="noise")
    for name in names:
        torch._dynamo.reset()
        model, before = build(name, 4, 32), traced.graphs
        recipe = Recipe(steps=1, batch_size=4, base_aug="flip", objective=LABELS)
        learner = Training(model, data, recipe, CPU, compile=True)
        learner.run_epoch()
        assert traced.graphs == before + 1, name
        assert traced.written <= statistics(learner.model), name
        traced.written.clear()
        with torch.no_grad():  # what is made in inference mode has no versions
            inference_copy(model, compile=True)(images.float())
        assert traced.graphs == before + 2, name
        assert not traced.written, name


@pytest.mark.parametrize("names", [FEW, pytest.param(set(AUGS), marks=pytest.mark.slow)], ids=["few", "all"])
def test_a_built_in_augmentation_is_one_graph_that_leaves_its_images_alone(names: set[str], traced: Traced) -> None:
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    apply = Augmentation.apply.__wrapped__  # type: ignore[attr-defined]  # within settings of the host
    for name in sorted(names - ON_THE_HOST):
        aug, before = parse(name, ImageSpec(16)), traced.graphs
        draws = aug.draw(Keys(0, 2, 4), images.shape)
        torch._dynamo.reset()  # which compiles no code more than eight times
        compiled = torch.compile(lambda images, draws, aug=aug: apply(aug, images, draws).images)
        assert torch.equal(compiled(images, draws), apply(aug, images, draws).images), name
        assert traced.graphs == before + 1 or not aug.operations, name
        assert not traced.written, name
