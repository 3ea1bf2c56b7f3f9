"""A CUDA device that is pretended on the CPU: what would it launch, and where would the host wait for it?

Tensors "on cuda:0" are wrappers round tensors of the CPU; a dispatch mode computes what is asked of them there, and
keeps count. So the package runs as it would on a GPU, to the same numbers, and it is known of every operator

* how many kernels it would launch: one, however many CUDA needs for it; none for views and allocations;
* whether the host would have to wait: for numbers read by Python, for shapes that depend on values (``nonzero``, a
  boolean mask as an index), for copies to the host, and for copies from memory that is not pinned;
* whether tensors of both devices met in it, which raises here as it does there.

Each is put down to the line of the package that asked for it. Wrappers are of the CPU as far as C++ is concerned, since
autograd wants a real device: backward is counted too, and where torch itself chooses its way by the device (batch norm
by cuDNN, autocast) it is the CPU's way that is counted, of as many operators.

Not pretended: streams, graphs, memory, ``torch.compile`` and NCCL, and the order of floating-point sums on a GPU.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device("cuda:0")
with_tensors = pytest.mark.skipif(
    not hasattr(torch._C, "_ensureCUDADeviceGuardSet"), reason="torch < 2.7 has no device guard that asks no driver"
)
"""Mark of tests that pretend tensors, not only what torch.cuda says."""
_CPU = torch.device("cpu")
_ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "set_", "resize_"}
_WITHOUT_KERNEL = {*_ALLOCATIONS, "_unsafe_view", "_reshape_alias", "lift", "is_pinned", "_assert_tensor_metadata"}
# the host reads a number, or needs one to know a shape; of linear algebra, whether the matrix was singular
_WAITING = {
    *("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "bincount", "_unique2", "unique_dim"),
    *("unique_consecutive", "repeat_interleave", "_linalg_check_errors", "linalg_eigh", "_linalg_eigh", "_linalg_svd"),
}
_NUMBERS = {"_local_scalar_dense", "equal", "is_nonzero"}  # what they return is Python's
_INDEXING = {"index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index"}
_ALL_ON_ONE_DEVICE = {  # where not even a number on the host is taken
    *("cat", "stack", "mm", "bmm", "addmm", "convolution", "native_batch_norm", "grid_sampler_2d", "embedding"),
    *("index_select", "index_copy", "index_copy_", "index_add_", "gather", "scatter", "scatter_", "nll_loss_forward"),
}


class MixedDevicesError(RuntimeError):
    """An operator was given tensors of both devices."""


@dataclass
class Counts:
    """What was asked of the device.

    Attributes
    ----------
    kernels : Counter of str
        Launches by operator, "memcpy" among them.
    lines : Counter of str
        Launches by the line that asked for them.
    waits : Counter of (str, str)
        What the host waited for, and the line.
    pinned : int
        Tensors that were copied to pinned memory.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    pinned: int = 0

    @property
    def launches(self) -> int:
        """Kernels and copies in all."""
        return self.kernels.total()

    def table(self, most: int = 20) -> str:
        """Launches and waits by line, for people."""
        rows = [f"{count:6d}  {line}" for line, count in self.lines.most_common(most)]
        waits = [f"{count:6d}  {what} at {line}" for (what, line), count in self.waits.most_common()]
        return "\n".join([f"{self.launches} launches", *rows, f"{self.waits.total()} waits", *waits])


class PretendedTensor(Tensor):
    """A tensor that says it is on ``cuda:0``; ``on_cpu`` has its values."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls, on_cpu: Tensor) -> PretendedTensor:
        layout = {"strides": on_cpu.stride(), "storage_offset": on_cpu.storage_offset(), "layout": on_cpu.layout}
        wrapper = Tensor._make_wrapper_subclass(cls, on_cpu.size(), dtype=on_cpu.dtype, device=_CPU, **layout)
        wrapper.on_cpu = on_cpu
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _device().compute(func, args, kwargs or {})  # in a thread that does not know of the mode

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.to, Tensor.type_as) and not isinstance(args[0], PretendedTensor):  # but its model is one
            return args[0].to(CUDA, args[1].dtype, **kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    def __repr__(self, **options: Any) -> str:
        return f"PretendedTensor({self.on_cpu!r})"

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, new: PretendedTensor) -> None:
        self.on_cpu = new.on_cpu
        Tensor.data.__set__(self, new)  # for the strides

    def get_device(self) -> int:
        return 0

    def numpy(self, **options: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy: copy it to the host first")

    def __array__(self, *args: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def is_pinned(self, *args: Any) -> bool:
        return False

    def pin_memory(self, *args: Any) -> Tensor:
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor': only dense CPU tensors can be pinned")

    def cpu(self, memory_format: torch.memory_format = torch.preserve_format) -> Tensor:
        return self.to("cpu", memory_format=memory_format)

    def cuda(self, *args: Any, **options: Any) -> Tensor:
        return self.to(CUDA)

    def to(self, *args: Any, copy: bool = False, **options: Any) -> Tensor:
        args = tuple("cuda" if isinstance(arg, PretendedTensor) else arg for arg in args)
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **options)
        memory_format = memory_format or torch.preserve_format
        if device is not None and device.type == "cpu":
            settings = {"dtype": dtype, "device": _CPU, "memory_format": memory_format}
            return torch.ops.aten._to_copy.default(self, non_blocking=bool(non_blocking), **settings)
        return Tensor.to(self, dtype=dtype or self.dtype, copy=copy, memory_format=memory_format)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied._is_param = True
            memo[id(self)] = copied
        return memo[id(self)]


class PretendedDevice(TorchDispatchMode):
    """Computes on the CPU what is asked of the pretended device, and counts it.

    Parameters
    ----------
    package : str
        Folder in whose files lines are looked for.

    Attributes
    ----------
    counts : Counts
        Since the device was made, or since :meth:`counting` was entered.
    """

    def __init__(self, package: str = "/dametric/") -> None:
        super().__init__()
        self.package = package
        self.counts = Counts()
        self.seeds = 0

    @contextmanager
    def counting(self) -> Iterator[Counts]:
        """Count what happens within by itself."""
        before, self.counts = self.counts, Counts()
        try:
            yield self.counts
        finally:
            self.counts = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.compute(func, args, kwargs or {})

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Carry out an operator, wherever its tensors are."""
        name = func.overloadpacket.__name__
        tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
        there = [tensor for tensor in tensors if isinstance(tensor, PretendedTensor)]
        asked = kwargs.get("device")
        target = None if asked is None else torch.device(asked).type
        if not there and target != "cuda":
            return _plain(func, args, kwargs)
        if name == "_to_copy" and target == "cpu" and there and not _in_backward():
            self.launch("memcpy")
            if not kwargs.get("non_blocking"):  # else into pinned memory, to be read when the device is drained
                self.wait("copy to the host")
            return func(args[0].on_cpu, **{**kwargs, "device": _CPU})
        if name == "_to_copy" and not there:
            self._copy_in(args[0], kwargs)
        elif name == "copy_" and len(there) < 2:
            return self._copy_between(*args[:2])
        else:
            self._check(func, name, args, tensors, there)
            if name in _WAITING:
                self.wait(name)
            if not func.is_view and name not in _WITHOUT_KERNEL:
                self.launch(name)
        return self._wrapped(func, name, args, _plain(func, *_unwrapped(args, kwargs)))

    def launch(self, name: str) -> None:
        """Count a kernel."""
        self.counts.kernels[name] += 1
        self.counts.lines[self._line()] += 1

    def wait(self, what: str) -> None:
        """Count a time that the host waits."""
        self.counts.waits[what, self._line()] += 1

    def _line(self) -> str:
        """The innermost line of the package; of what called torch where there is none."""
        frame, own = sys._getframe(2), __file__
        outside = "elsewhere"
        while frame is not None:
            name = frame.f_code.co_filename
            if self.package in name and name != own:
                return f"{name.rpartition(self.package)[2]}:{frame.f_lineno}"
            if outside == "elsewhere" and name != own and "/torch/" not in name and "contextlib" not in name:
                outside = f"{name.rpartition('/')[2]}:{frame.f_lineno}"
            frame = frame.f_back
        return "backward" if _in_backward() else outside

    def _copy_in(self, source: Tensor, options: dict[str, Any]) -> None:
        self.launch("memcpy")
        if not (options.get("non_blocking") and _is_pinned(source)):
            self.wait("copy from the host")

    def _copy_between(self, target: Tensor, source: Tensor) -> Tensor:
        """Into what is there already, from the other device."""
        if isinstance(target, PretendedTensor):
            self._copy_in(source, {})
            target.on_cpu.copy_(source)
        else:
            self.launch("memcpy")
            self.wait("copy to the host")
            target.copy_(source.on_cpu)
        return target

    def _check(self, func: Any, name: str, args: Any, tensors: list[Tensor], there: list[PretendedTensor]) -> None:
        here = [tensor for tensor in tensors if not isinstance(tensor, PretendedTensor)]
        if name in _INDEXING:
            self._check_index(func, name, args)
            return
        strict = name in _ALL_ON_ONE_DEVICE
        numbers = not any(tensor.ndim for tensor in here)  # which go along with the call
        if name == "index_fill_" and here == [args[2]]:  # a list of Python's; what C++ copies to the device unseen
            self._copy_in(args[2], {})
        elif here and there and (strict or not numbers):
            shapes = [tuple(tensor.shape) for tensor in here]
            raise MixedDevicesError(f"{func} at {self._line()}: of shape {shapes} on the CPU, others on {CUDA}")

    def _check_index(self, func: Any, name: str, args: Any) -> None:
        """An index may be on the host, from where it is copied; values may not, unless they are one number."""
        source, index, values = args[0], args[1], args[2] if len(args) > 2 else None
        if not isinstance(source, PretendedTensor):
            raise MixedDevicesError(f"{func} at {self._line()}: an index on {CUDA} into a tensor on the CPU")
        if values is not None and values.ndim and not isinstance(values, PretendedTensor):
            raise MixedDevicesError(f"{func} at {self._line()}: values on the CPU for a tensor on {CUDA}")
        filled = values is not None and values.numel() == 1 and not isinstance(values, PretendedTensor)
        for each in index:
            if isinstance(each, Tensor) and not isinstance(each, PretendedTensor):
                self._copy_in(each, {})
            if isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8) and not filled:
                self.wait(f"{name} by a mask")

    def _wrapped(self, func: Any, name: str, args: Any, result: Any) -> Any:
        written = args[0] if args and _in_place(func) else None
        if name in _NUMBERS or result is None:
            return result
        if isinstance(written, Tensor):
            return written
        if func.is_view:  # in inference mode a view of what was not made there is an ordinary tensor
            with torch.inference_mode(args[0].is_inference()):
                return tree_map(_wrapper, result)
        return tree_map(_wrapper, result)


def _wrapper(result: Any) -> Any:
    return PretendedTensor(result) if isinstance(result, Tensor) else result


def _plain(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Carry out an operator on the CPU; where pinned memory is asked for, it is remembered as that."""
    if not kwargs.get("pin_memory"):
        return func(*args, **kwargs)
    return _pinned(func(*args, **{**kwargs, "pin_memory": False}))


def _unwrapped(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    args, kwargs = tree_map(lambda each: each.on_cpu if isinstance(each, PretendedTensor) else each, (args, kwargs))
    return args, {**kwargs, "device": _CPU} if "device" in kwargs else kwargs


def _in_place(func: Any) -> bool:
    arguments = func._schema.arguments
    alias = arguments[0].alias_info if arguments else None
    return alias is not None and alias.is_write


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _pinned(tensor: Tensor) -> Tensor:
    tensor.untyped_storage().pretended_pinned = True
    return tensor


def _is_pinned(tensor: Tensor, *args: Any) -> bool:
    return getattr(tensor.untyped_storage(), "pretended_pinned", False)


_ACTIVE: list[PretendedDevice] = []


def _device() -> PretendedDevice:
    if not _ACTIVE:
        raise RuntimeError("a pretended tensor was used after its device was gone")
    return _ACTIVE[-1]


@contextmanager
def pretended_cuda(*, devices: int = 1, free: int = 80 << 30, package: str = "/dametric/") -> Iterator[PretendedDevice]:
    """Pretend a CUDA device; everything is undone at the end.

    Parameters
    ----------
    devices : int
        How many there are; all tensors are on the first.
    free : int
        Bytes of free memory.
    package : str
        Folder in whose files lines are looked for.
    """
    device = PretendedDevice(package)
    properties = SimpleNamespace(name="Pretended H100", total_memory=free, major=9, minor=0, multi_processor_count=132)

    def pin(tensor: Tensor, *args: Any) -> Tensor:
        if _is_pinned(tensor):
            return tensor
        device.counts.pinned += 1
        return _pinned(tensor.clone())

    def seed(*args: Any) -> None:
        device.seeds += 1

    answers: dict[str, Callable[..., Any]] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: devices > 0,
        "is_initialized": lambda: True,
        "device_count": lambda: devices,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "mem_get_info": lambda device=None: (free, free),
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: properties.name,
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": lambda *args, **options: True,
        "is_current_stream_capturing": lambda: False,
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: device_waits(device),
        "get_rng_state": lambda device="cuda": torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda state, device="cuda": None,
        "manual_seed": seed,
        "manual_seed_all": seed,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 0,
        "reset_peak_memory_stats": lambda device=None: None,
        "set_per_process_memory_fraction": lambda fraction, device=None: None,
    }

    def device_waits(_: Any) -> None:
        device.wait("synchronize")

    with ExitStack() as changed:
        # a generator that says it has drawn: steps that draw are not recorded as graphs, which are not pretended
        drawn = (SimpleNamespace(get_offset=lambda: 1),) * devices
        changed.enter_context(patch.object(torch.cuda, "default_generators", drawn))
        for name, answer in answers.items():
            changed.enter_context(patch.object(torch.cuda, name, answer))
        changed.enter_context(patch.object(Tensor, "pin_memory", pin))
        changed.enter_context(patch.object(Tensor, "is_pinned", _is_pinned))
        changed.enter_context(patch.object(torch, "autocast", _Autocast))
        changed.enter_context(_lifted())
        _ACTIVE.append(device)
        changed.callback(_ACTIVE.remove, device)
        _forget_tensors()  # of a real device, and at the end of this one
        changed.callback(_forget_tensors)
        with device:
            yield device


def _forget_tensors() -> None:
    """Empty the caches of constants that the package keeps on a device."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("dametric.augment", "dametric.metrics", "dametric.scoring")):
            for value in vars(module).values():
                if callable(getattr(value, "cache_clear", None)):
                    value.cache_clear()


class _Autocast(torch.autocast):
    """Autocast on the CPU, which is where C++ takes the tensors to be."""

    def __init__(self, device_type: str, *args: Any, **options: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **options)


@contextmanager
def _lifted() -> Iterator[None]:
    """Let the mode see the copy to the device that ``torch.tensor(..., device="cuda")`` makes, and modules move."""
    getattr(torch._C, "_ensureCUDADeviceGuardSet", lambda: None)()  # torch >= 2.7
    lifting = torch._C._only_lift_cpu_tensors()
    overwriting = torch.__future__.get_overwrite_module_params_on_conversion()
    torch._C._set_only_lift_cpu_tensors(True)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch._C._set_only_lift_cpu_tensors(lifting)
        torch.__future__.set_overwrite_module_params_on_conversion(overwriting)
