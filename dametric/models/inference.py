"""Networks prepared for inference: batch norm folded, channels last, a chosen dtype."""

from __future__ import annotations

import copy
from collections import Counter
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dametric.models.compiling import about_to_compile
from dametric.models.fusion import fused
from dametric.models.interface import Interface

_PLAIN = Interface()  # of most networks


class _Runner(nn.Module):
    """Convert a batch to the network's dtype and memory layout; return logits of at least float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype, interface: Interface) -> None:
        super().__init__()
        self.network, self.dtype, self.interface = network, dtype, interface

    def forward(self, images: Tensor) -> Tensor:
        if self.interface.channels_last:
            images = images.to(self.dtype, memory_format=torch.channels_last)
        else:
            images = self.interface.arrange(images.to(self.dtype))
        logits = self.interface.logits(self.network(images))
        return logits.float() if logits.dtype.itemsize < 4 else logits


def inference_copy(
    model: nn.Module,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    compile: bool = False,
    interface: Interface = _PLAIN,
) -> nn.Module:
    """Copy a network for inference: eval mode, no gradients, batch norm folded into convolutions.

    Every ``Conv2d`` whose only consumer is a ``BatchNorm2d`` with running statistics takes over its affine
    map: w' = w g / sqrt(v + eps), b' = (b - m) g / sqrt(v + eps) + beta, computed in float64. Networks that
    cannot be traced, have hooks, or share modules are left unfolded there, and still work.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    dtype : torch.dtype
        Floating type of weights and activations.
    device : torch.device or str
        Device of the copy.
    compile : bool
        Pass the copy through ``torch.compile``, which takes effect at the first call.
    interface : Interface
        How the network takes images and returns logits: see :func:`dametric.models.interface.interface`. By default it
        runs on images in channels-last layout and returns logits alone.

    Returns
    -------
    nn.Module
        Takes a floating batch (B, C, H, W) on ``device``, of any dtype and layout, and returns logits (B, classes)
        in ``dtype``, or float32 where ``dtype`` is shorter than that.
    """
    network = copy.deepcopy(model).eval().requires_grad_(False)
    _fold_batch_norm(network)
    if not compile and torch.device(device).type == "cpu":  # the compiler fuses by itself
        network = fused(network, dtype)
    runner = _Runner(network, dtype, interface).eval().to(device=device, dtype=dtype)
    interface.arrange_weights(runner)
    if not compile:
        return runner
    about_to_compile(runner)
    return cast(nn.Module, torch.compile(runner))


def preferred_dtype(device: torch.device | str) -> torch.dtype:
    """The fastest floating type of a device: bfloat16 where it computes that in hardware, else float32.

    Parameters
    ----------
    device : torch.device or str
        "cpu", "cuda", "cuda:1", ...

    Returns
    -------
    torch.dtype
        ``torch.bfloat16`` or ``torch.float32``. Without hardware support bfloat16 is emulated, and several times
        slower than float32.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    # torch has private functions only for this question; without them the answer is no
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if device.type == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in checks):
        return torch.bfloat16
    return torch.float32


def _fold_batch_norm(network: nn.Module) -> None:
    """Fold in place; the traced graph only shows which pairs may be folded, and the network keeps its code."""
    for conv_name, norm_name in _foldable_pairs(network):
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        # float64 on the CPU, since some accelerators lack it
        exact_conv = copy.deepcopy(conv).to("cpu", torch.float64)
        fused = fuse_conv_bn_eval(exact_conv, copy.deepcopy(norm).to("cpu", torch.float64))
        _replace(network, conv_name, fused.requires_grad_(False))
        _replace(network, norm_name, nn.Identity())


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, module)


def _foldable_pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that are their only readers."""
    if any(m._forward_hooks or m._forward_pre_hooks for m in network.modules()):
        return []  # a hook may read what folding would change
    try:
        nodes = list(fx.Tracer().trace(network).nodes)
    except Exception:  # code that branches on values or shapes cannot be traced, and raises any error
        return []
    modules = dict(network.named_modules(remove_duplicate=False))
    names = Counter(id(module) for module in modules.values())
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    read = [str(node.target) for node in nodes if node.op == "get_attr"]  # weights used outside their module

    def plain(node: fx.Node, kind: type[nn.Module]) -> bool:
        """Whether this is the only call of a module of exactly this type, which has one name and is not shared."""
        name = str(node.target)
        if node.op != "call_module" or type(modules[name]) is not kind or calls[name] != 1:
            return False
        aliased = names[id(modules[name])] != 1 or parametrize.is_parametrized(modules[name])
        return not aliased and not any(target.startswith(f"{name}.") for target in read)

    pairs = []
    for node in nodes:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or not (plain(node, nn.BatchNorm2d) and plain(source, nn.Conv2d)):
            continue
        norm = modules[str(node.target)]
        assert isinstance(norm, nn.BatchNorm2d)
        if len(source.users) == 1 and norm.running_mean is not None and norm.running_var is not None:
            pairs.append((str(source.target), str(node.target)))
    return pairs
