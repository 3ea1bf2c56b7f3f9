"""Fusion of convolutions with the additions and clips after them on a CPU, where memory traffic costs as much as sums.

oneDNN computes ``relu(conv(x) + shortcut)`` in one pass over the output, and keeps weights in its own layout. PyTorch
calls these kernels by operators that only its compiler uses. They are called here without the compiler, since a
compilation takes longer than many a pass. This pays for networks with sums in float32 (most for ShuffleV1, then for
residual networks), and only they are fused; VGG gained next to nothing, bfloat16 little.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from dametric.models.finite import may_be_nan

_FEW, _LARGE = 8, 1e30  # first images that are checked; bound of partial sums, of which 3e38 fit
_DOUBTFUL = "may be NaN"  # key in a node's metadata
_RELUS = (functional.relu, torch.relu, torch.relu_)
_ADDITIONS = (operator.add, operator.iadd, torch.add)


class FusedConv(nn.Module):
    """A convolution with the addition and the clip after it: ``clip(conv(x) + other)``.

    Parameters
    ----------
    conv : nn.Conv2d
        Padded with zeros; its weights must not change any more.
    clip : {"relu", "none"}
        Clip of the sum.
    overwrite : bool
        Write the result into the memory of ``other``, which is not read afterwards.
    """

    def __init__(self, conv: nn.Conv2d, clip: str, overwrite: bool = False) -> None:
        super().__init__()
        self.conv, self.clip, self.overwrite = conv, clip, overwrite
        self._packed: Tensor | None = None

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Result of shape (batch, channels, height, width) of input ``x`` and a summand of the result's shape."""
        conv = self.conv
        where = (conv.padding, conv.stride, conv.dilation, conv.groups)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *where, list(x.shape))
        what = (x, self._packed, conv.bias, *where)
        clip: tuple[str, list[float], str] = (self.clip, [], "")
        result: Tensor
        if other is None:
            result = torch.ops.mkldnn._convolution_pointwise(*what, *clip)
            return result
        if other.shape != self._shape(x) or other.dtype != x.dtype:  # a broadcast sum
            total = torch.ops.mkldnn._convolution_pointwise(*what, "none", [], "") + other
            result = total if self.clip == "none" else total.relu()
            return result
        after: tuple[str | None, list[float], str] = (None if self.clip == "none" else self.clip, [], "")
        if self.overwrite:
            result = torch.ops.mkldnn._convolution_pointwise_.binary(other, *what, "add", 1.0, *after)
            return result
        result = torch.ops.mkldnn._convolution_pointwise.binary(x, other, *what[1:], "add", 1.0, *after)
        return result

    def bound(self, x: Tensor | float, other: Tensor | float = 0.0) -> Tensor:
        """Upper bound of partial sums for inputs of at most this size: float32, NaN where any value is NaN."""
        bias = 0.0 if self.conv.bias is None else self.conv.bias.detach().float().abs().amax()
        return self.conv.weight.detach().float().abs().flatten(1).sum(1).amax() * x + bias + other

    def _shape(self, x: Tensor) -> tuple[int, ...]:
        conv = self.conv
        assert not isinstance(conv.padding, str)
        sides = zip(x.shape[2:], conv.kernel_size, conv.padding, conv.stride, conv.dilation, strict=True)
        spatial = ((n + 2 * pad - d * (k - 1) - 1) // step + 1 for n, k, pad, step, d in sides)
        return (x.shape[0], conv.out_channels, *spatial)


class Fused(nn.Module):
    """A network and its fused copy, which is used once the first images have shown that it can be trusted.

    The kernels' clips turn NaN into 0, which would hide a broken network. In a convolution NaN comes from its input,
    its weights, or partial sums too large for the dtype; where a few images are far from all three, any finite images
    are. Values that may be NaN for another reason are clipped by a separate step, which keeps NaN.

    Parameters
    ----------
    network : nn.Module
        The original network.
    fast : nn.Module
        Its fused copy.
    """

    def __init__(self, network: nn.Module, fast: nn.Module) -> None:
        super().__init__()
        self.network, self.fast = network, fast
        self.trusted: bool | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Output of the network."""
        if self.trusted is None:
            kept = x.clone()  # networks may write into their input
            watched, self.trusted = _watched(self.fast, x)
            if self.trusted:
                return watched
            x = kept
        answer: Tensor = self.fast.forward(x) if self.trusted else self.network(x)
        return answer


def _watched(fast: nn.Module, x: Tensor) -> tuple[Tensor, bool]:
    """Output of a fused network, and whether the sums of its convolutions stay far below the dtype's maximum."""
    bounds: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, FusedConv)
        bounds.append(module.bound(*(value[:_FEW].abs().amax().float() for value in inputs)))

    hooks = [m.register_forward_pre_hook(note) for m in fast.modules() if isinstance(m, FusedConv)]
    try:
        answer = fast.forward(x)  # a call of the module would print the traced code where it fails
    finally:
        for hook in hooks:
            hook.remove()
    return answer, bool((torch.stack(bounds) < _LARGE).all())  # False for NaN


def fused(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Fuse a network's convolutions with the additions and clips that follow them.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on the CPU; its weights must not change any more.
    dtype : torch.dtype
        Floating type to which it is converted before it runs.

    Returns
    -------
    nn.Module
        The network with a traced copy that shares the weights, or ``network`` itself where it has no sum that can be
        fused, the kernels are missing, or the code cannot be traced faithfully (it branches on values or makes
        tensors).
    """
    if not supported(dtype) or any(m._forward_hooks or m._forward_pre_hooks for m in network.modules()):
        return network
    try:
        graph = fx.Tracer().trace(network)
        traced = fx.GraphModule(network, graph)
    except Exception:  # code that branches on values or shapes cannot be traced, and raises any error
        return network
    if any(node.op == "get_attr" and str(node.target).startswith("_tensor_constant") for node in graph.nodes):
        return network  # a tensor made in forward may differ between calls
    _loosen_views(traced)
    _erase_identities(traced)
    for node in may_be_nan(traced):
        node.meta[_DOUBTFUL] = True
    sums = [node for node in graph.nodes if _is_sum(node)]
    if not sum(_fuse_sum(traced, node, f"sum_{number}") for number, node in enumerate(sums)):
        return network
    for number, node in enumerate(list(graph.nodes)):  # without a sum, and shortcuts of which the other side was fused
        if _conv(traced, node) is not None:
            _fuse_conv(traced, node, f"packed_{number}")
    graph.lint()
    traced.recompile()
    traced.delete_all_unused_submodules()
    return Fused(network, traced)


def _loosen_views(traced: fx.GraphModule) -> None:
    """Replace views by reshapes, which copy where needed: the kernels write channels last."""
    for node in traced.graph.nodes:
        viewed = node.op == "call_method" and node.target == "view" and not node.kwargs
        if viewed and not any(isinstance(argument, torch.dtype) for argument in node.args):
            node.target = "reshape"


def _erase_identities(traced: fx.GraphModule) -> None:
    """Remove modules without effect in evaluation mode: identities of folded norms, and dropout."""
    for node in list(traced.graph.nodes):
        kind = type(traced.get_submodule(str(node.target))) if node.op == "call_module" else None
        if kind in (nn.Identity, nn.Dropout) and len(node.args) == 1:
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)


def supported(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    # private operators of PyTorch: a version that lacks one runs networks unfused
    names = ("_convolution_pointwise", "_convolution_pointwise_", "_reorder_convolution_weight")
    if not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return dtype == torch.float32


def _conv(traced: fx.GraphModule, node: Any) -> nn.Conv2d | None:
    """The convolution that a node calls, if the kernels can compute it."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    module = traced.get_submodule(str(node.target))
    if type(module) is not nn.Conv2d or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    return module if len(node.args) == 1 and not node.kwargs else None


def _is_sum(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target in _ADDITIONS and len(node.args) == 2 and not node.kwargs


def _fuse_conv(traced: fx.GraphModule, node: fx.Node, name: str) -> None:
    """Fuse a convolution with its clip; without a clip it still gains from packed weights."""
    conv = _conv(traced, node)
    assert conv is not None
    clip, last = _following(traced, node)
    _insert(traced, last, FusedConv(conv, clip), (node.args[0],), name)
    if last is not node:
        traced.graph.erase_node(node)


def _fuse_sum(traced: fx.GraphModule, node: fx.Node, name: str) -> bool:
    sides = _sides(traced, node)
    if sides is None:
        return False
    source, other = sides
    conv, x = _conv(traced, source), source.args[0]
    assert conv is not None
    clip, last = _following(traced, node)
    overwrite = other is not x and _makes_its_own(traced, other) and _is_last_reader(traced, node, other)
    _insert(traced, last, FusedConv(conv, clip, overwrite), (x, other), name)
    if last is not node:
        traced.graph.erase_node(node)
    traced.graph.erase_node(source)
    return True


def _sides(traced: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The convolution of a sum that may be computed in the sum's place, and the other summand."""
    left, right = node.args
    orders = [(left, right)] if node.target is operator.iadd else [(left, right), (right, left)]
    for source, other in orders:
        if _conv(traced, source) is None or not isinstance(other, fx.Node) or source is other:
            continue
        assert isinstance(source, fx.Node)
        if len(source.users) == 1 and not _writes_between(traced, source, node):
            return source, other
    return None


def _writes_between(traced: fx.GraphModule, first: fx.Node, last: fx.Node) -> bool:
    """Whether any node between two may change a tensor in place."""
    node = first.next
    while node is not last:
        if node.op == "call_module":
            module = traced.get_submodule(str(node.target))
            writes = getattr(module, "inplace", False) or getattr(module, "overwrite", False)
        else:
            name = getattr(node.target, "__name__", str(node.target))
            inplace = node.kwargs.get("inplace") or any(argument is True for argument in node.args)
            writes = bool(inplace) or name.endswith("_") or name.startswith("i") or name == "setitem"
        if writes:
            return True
        node = node.next
    return False


def _makes_its_own(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node's result is memory that no other value shares."""
    kinds = (nn.Conv2d, nn.BatchNorm2d, FusedConv)
    return node.op == "call_module" and isinstance(traced.get_submodule(str(node.target)), kinds)


def _is_last_reader(traced: fx.GraphModule, node: fx.Node, value: fx.Node) -> bool:
    """Whether nothing reads a value after this node, nor its memory through an alias."""
    readers = [user for user in value.users if user is not node]
    return all(user < node and _makes_its_own(traced, user) for user in readers)


def _following(traced: fx.GraphModule, node: fx.Node) -> tuple[str, fx.Node]:
    """The clip that is the only reader of a node, and its node; "none" and the node itself if there is none.

    Values that may be NaN must be clipped separately.
    """
    users = list(node.users)
    clip = _clip(traced, users[0]) if len(users) == 1 and _DOUBTFUL not in node.meta else "none"
    return clip, users[0] if clip != "none" else node


def _clip(traced: fx.GraphModule, node: fx.Node) -> str:
    """The clip that a node is, in oneDNN's words, or "none"."""
    if node.op == "call_module":
        return "relu" if type(traced.get_submodule(str(node.target))) is nn.ReLU else "none"
    return "relu" if node.op == "call_function" and node.target in _RELUS else "none"


def _insert(traced: fx.GraphModule, last: fx.Node, module: FusedConv, arguments: tuple[Any, ...], name: str) -> None:
    """Replace the last node of a fused group by its convolution."""
    traced.add_submodule(name, module)
    with traced.graph.inserting_before(last):
        call = traced.graph.call_module(name, arguments)
    last.replace_all_uses_with(call)
    traced.graph.erase_node(last)
