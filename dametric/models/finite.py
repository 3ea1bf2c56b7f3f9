"""Values of a traced network that may be NaN although its images and weights are finite."""

from __future__ import annotations

import operator

from torch import fx, nn

# Operations whose result is finite for finite input of any size in networks; all others are assumed to make NaN.
_MODULES = (
    *(nn.Conv2d, nn.BatchNorm2d, nn.Linear, nn.LayerNorm, nn.GroupNorm, nn.Identity, nn.Flatten, nn.Unflatten),
    *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh),
    *(nn.Hardsigmoid, nn.Hardswish, nn.Softmax, nn.Dropout, nn.Dropout2d, nn.MultiheadAttention),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.PixelShuffle),
)
_WORDS = (
    "add iadd sub isub mul imul neg abs cat stack relu relu_ relu6 leaky_relu elu gelu silu sigmoid tanh "
    "hardswish hardsigmoid softmax clamp max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d "
    "mean sum amax amin flatten unflatten view reshape transpose permute contiguous chunk split unsqueeze "
    "squeeze expand repeat expand_as view_as getitem getattr size dim eq _assert dropout interpolate pad "
    "linear layer_norm pixel_shuffle narrow select unbind roll flip swapaxes movedim "
)
_NAMES = frozenset(_WORDS.split())
_SIZES = frozenset({"size", "dim"})
_ARITHMETIC = (operator.getitem, operator.floordiv, operator.mul, operator.add, operator.sub)


def may_be_nan(traced: fx.GraphModule) -> set[fx.Node]:
    """Values that may not be finite for finite images, and all values computed from them.

    Parameters
    ----------
    traced : fx.GraphModule
        In evaluation mode.

    Returns
    -------
    set of fx.Node
        Quotients, roots, logarithms and unknown operations, and all that is computed from them.
    """
    doubtful: set[fx.Node] = set()
    sizes: set[fx.Node] = set()  # whole numbers, whose division is harmless
    for node in traced.graph.nodes:
        if _is_size(node, sizes):
            sizes.add(node)
        elif not _keeps_finite(traced, node) or any(source in doubtful for source in node.all_input_nodes):
            doubtful.add(node)
    return doubtful


def _is_size(node: fx.Node, sizes: set[fx.Node]) -> bool:
    if node.op == "call_method":
        return node.target in _SIZES
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] in ("shape", "ndim")
    sources = node.all_input_nodes
    return node.target in _ARITHMETIC and bool(sources) and all(source in sizes for source in sources)


def _keeps_finite(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return type(traced.get_submodule(str(node.target))) in _MODULES
    if node.op in ("call_function", "call_method"):
        return getattr(node.target, "__name__", str(node.target)) in _NAMES
    return True
