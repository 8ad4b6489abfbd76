"""A second device, made in Python: where tensors of two devices would meet on a GPU, they meet here too.

    with second_device():
        stage.to("cuda")                 # as with a GPU, but every number is the processor's
        stage(film_on_the_processor)     # RuntimeError, as with a GPU

A tensor there holds a CPU tensor and says that it lies on "cuda:0". An operator that gets tensors of both devices raises where
CUDA's raises. What has no place here:

* ``torch.autocast("cuda")`` does nothing, and warns where it is enabled: take stages of precision "fp32";
* ``torch.cuda.is_available()`` stays False; memory is told as plenty, its peak as 0;
* ``torch.save`` writes such a tensor as one of the processor: that a file is loaded to the wrong device is not seen;
* the device lives in one thread: DataLoaders need ``num_workers=0``;
* CUDA's kernels: they sum in another order, draw other random numbers, and optimizers take many tensors at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE, PROCESSOR = torch.device("cuda", 0), torch.device("cpu")
#: What torch's C++ takes our device for: nothing is computed there, so nothing can get past us.
_INSIDE = torch.device("meta")
_aten = torch.ops.aten
#: Operators that carry numbers from one device to the other.
_CARRIERS = {_aten.copy_, _aten._to_copy}
#: Operators whose indices may lie on the processor.
_INDEXED = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}
#: Operators beside the pointwise ones that take a number as a tensor of no dimension on the processor.
_TAKE_NUMBERS = {_aten.fill, _aten.fill_, _aten.masked_fill, _aten.masked_fill_, *_INDEXED}
#: Functions that read Python numbers: made on the processor, then carried.
_FROM_NUMBERS = {torch.tensor, torch.as_tensor, Tensor.new_tensor}
#: Lists within the brackets would become tensors that C++ alone knows of.
_INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
_PLENTY_BYTES = 1 << 40


class SecondDeviceTensor(Tensor):
    """A tensor whose numbers lie in ``inner``, on the processor."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # results stay what they are

    @staticmethod
    def __new__(cls, inner: Tensor) -> SecondDeviceTensor:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = Tensor._make_wrapper_subclass(cls, inner.shape, device=_INSIDE, **layout)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(operator, tuple(args), kwargs or {})

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def get_device(self) -> int:
        return 0

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def tolist(self) -> Any:
        return self.inner.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __dlpack__(self, *_: Any, **__: Any) -> Any:
        raise BufferError("a tensor of cuda:0 is no buffer of the processor")

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied: Tensor = SecondDeviceTensor(self.inner.clone())
        copied = nn.Parameter(copied, self.requires_grad) if isinstance(self, nn.Parameter) else copied
        memo[id(self)] = copied.requires_grad_(self.requires_grad)
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.inner.__reduce_ex__(protocol)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{self.inner!r} on {DEVICE}"


class _Generator(torch.Generator):
    """A generator that knows its device; the numbers are the processor's."""

    place = PROCESSOR

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls)
        made.place = torch.device(device)
        return made


class _Operators(TorchDispatchMode):
    """Operators that make tensors on the device, or carry them there."""

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(operator, tuple(args), kwargs or {})


class _Functions(TorchFunctionMode):
    """Functions that are told a device, which torch's C++ would look for in vain."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.device:
            return function(*args, **(kwargs or {}))
        args, kwargs = [_inside(one) for one in args], {name: _inside(one) for name, one in (kwargs or {}).items()}
        if kwargs.get("generator") is not None:
            _require_generator(args, kwargs)
        if function in _INDEXING:
            args[1] = _index(args[1])
        if function in _FROM_NUMBERS:
            return _from_numbers(function, args, kwargs)
        if function is F.scaled_dot_product_attention and all(isinstance(one, SecondDeviceTensor) for one in args):
            return function(*(one.cpu() for one in args), **kwargs).to(_INSIDE)  # the processor has a kernel of its own for it
        return function(*args, **kwargs)

    def around(self, engine: Callable[..., Any]) -> Callable[..., Any]:
        """What calls functions of ours within a function of torch's, where this mode would be off."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with self:
                return engine(*args, **kwargs)

        return run


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Within, "cuda" is a device; yields it."""
    with ExitStack() as stack:
        for name, value in {
            "mem_get_info": (_PLENTY_BYTES, _PLENTY_BYTES),
            "memory_reserved": 0,
            "max_memory_allocated": 0,
        }.items():
            stack.enter_context(patch.object(torch.cuda, name, lambda *_, told=value: told))
        stack.enter_context(patch.object(torch, "Generator", _Generator))
        functions = _Functions()
        stack.enter_context(patch.object(torch.autograd, "_engine_run_backward", functions.around(torch.autograd._engine_run_backward)))
        stack.enter_context(functions)
        stack.enter_context(_Operators())
        yield DEVICE


def _inside(value: Any) -> Any:
    """The device that C++ may know, for any that is ours."""
    if isinstance(value, torch.device):
        return _INSIDE if value.type == DEVICE.type else value
    return _INSIDE if isinstance(value, str) and value.split(":")[0] == DEVICE.type else value


def _index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_index(one) for one in index)
    return torch.tensor(index) if isinstance(index, list) else index


def _from_numbers(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    like = args[0] if function is Tensor.new_tensor or isinstance(args[0], Tensor) else None
    device = kwargs.pop("device", None) or (_INSIDE if isinstance(like, SecondDeviceTensor) else PROCESSOR)
    if isinstance(args[0], Tensor) and function is not Tensor.new_tensor:
        copied = args[0].to(device, **kwargs)
        return copied.detach().clone() if function is torch.tensor else copied
    if function is Tensor.new_tensor:
        function, args, kwargs = torch.tensor, args[1:], {"dtype": args[0].dtype, **kwargs}
    made: Tensor = function(*args, **kwargs)
    return made.to(device)


def _computed(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an operator makes of the inner tensors, on the device where CUDA would leave it."""
    given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    ours = [one for one in given if isinstance(one, SecondDeviceTensor)]
    wanted = kwargs.get("device")
    there = bool(ours) if wanted is None else wanted.type == _INSIDE.type
    if not ours and not there:
        return operator(*args, **kwargs)
    if ours and operator.overloadpacket not in _CARRIERS:
        _require_one_device(operator, args, kwargs)
    if "device" in kwargs:
        kwargs = {**kwargs, "device": PROCESSOR}
    bare_args, bare_kwargs = tree_map_only(SecondDeviceTensor, lambda one: one.inner, (args, kwargs))
    result = operator(*bare_args, **bare_kwargs)
    for one in ours:
        if one.shape != one.inner.shape:
            raise NotImplementedError(f"{operator} changes a shape in place, which tests/second_device.py cannot follow")
    same = {id(one): one for one in given if not isinstance(one, SecondDeviceTensor)} | {id(one.inner): one for one in ours}
    return tree_map_only(Tensor, lambda one: same[id(one)] if id(one) in same else SecondDeviceTensor(one) if there else one, result)


def _require_one_device(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise as CUDA does where an operator gets tensors of both devices."""
    numbers = torch.Tag.pointwise in operator.tags or operator.overloadpacket in _TAKE_NUMBERS
    for place, argument in enumerate(operator._schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        written = argument.alias_info is not None and argument.alias_info.is_write
        indices = operator.overloadpacket in _INDEXED and argument.name == "indices"
        for one in tree_leaves(value):
            if not isinstance(one, Tensor) or isinstance(one, SecondDeviceTensor):
                continue
            indexes = indices and isinstance(args[0], SecondDeviceTensor)
            if one.is_meta:
                raise NotImplementedError(f"{operator} got a tensor that was made past tests/second_device.py")
            if written or not (indexes or (numbers and one.dim() == 0)):
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two devices, "
                    f"cuda:0 and cpu! ({operator}, argument {argument.name}, shape {tuple(one.shape)})"
                )


def _require_generator(args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    """Raise as CUDA does where the numbers of one device's generator are asked for on the other."""
    wanted = kwargs.get("device")
    there = any(isinstance(one, SecondDeviceTensor) for one in args) if wanted is None else wanted == _INSIDE
    place = getattr(kwargs["generator"], "place", PROCESSOR)
    if (place.type == DEVICE.type) is not there:
        raise RuntimeError(f"Expected a {DEVICE if there else PROCESSOR} generator, got one of {place}")
