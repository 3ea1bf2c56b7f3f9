"""Every network of a process is compiled, and freed when its run is over."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from dametric.data import ImageSet
from dametric.training.recipe import Objective, Recipe
from dametric.training.trainer import Training

LABELS = Objective(ce=1.0, raw=0.0, aug=0.0)


def trained(network, data: ImageSet, compile: bool) -> Training:
    recipe = Recipe(steps=1, batch_size=5, lr=0.1, objective=LABELS)
    training = Training(network, data, recipe, torch.device("cpu"), compile=compile)
    training.run_epoch()
    return training


def test_a_network_is_freed_when_nothing_holds_its_training(network, data: ImageSet) -> None:
    gc.collect()
    gc.disable()
    try:
        training = trained(network(), data, compile=False)
        left = weakref.ref(training), weakref.ref(training.model)
        del training
        assert [each() for each in left] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("together", [False, True])
def test_the_ninth_network_of_a_process_is_compiled_too(
    together: bool, data: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the compiler's back end, which takes minutes; what is counted is what dynamo gave to it."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> object:
        graphs.append(1)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: real(function, backend=backend))

    def layers(depth: int) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), *(torch.nn.Linear(192, 192) for _ in range(depth)))

    alive, counts = [], []
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"  # torch < 2.7
    with torch._dynamo.config.patch({limit: 8}):  # put back at the end
        for depth in range(1, 11):
            graphs.clear()
            alive.append(trained(layers(depth), data, compile=True))
            counts.append(len(graphs))
            if not together:
                alive.clear()
    assert counts == [1] * 10
