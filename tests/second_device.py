"""A second device, made in Python: where tensors of two devices would meet on a GPU, they meet here too.

    with second_device() as device:
        stage.to(device)                 # "cuda:0"; every number is the processor's
        stage(film_on_the_processor)     # RuntimeError, as with a GPU

A tensor there holds a CPU tensor and says that it lies on "cuda:0". An operator that gets tensors of both devices raises where
CUDA's raises. What has no place here:

* ``torch.autocast("cuda")`` does nothing, and warns where it is enabled: take stages of precision "fp32";
* ``torch.cuda.is_available()`` stays False; memory is told as plenty, its peak as 0;
* ``torch.save`` writes such a tensor as one of the processor: that a file is loaded to the wrong device is not seen;
* a gradient on the wrong device raises only where it meets another tensor;
* "cuda:1" is "cuda:0";
* the device lives in one thread: DataLoaders need ``num_workers=0``;
* CUDA's kernels: they sum in another order, draw other random numbers, and optimizers take many tensors at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from xct_components.physics import separable_projection

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
    """A tensor whose numbers lie in ``numbers``, on the processor."""

    numbers: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # results stay as they are

    @staticmethod
    def __new__(cls, numbers: Tensor) -> SecondDeviceTensor:
        layout: Any = {"strides": numbers.stride(), "storage_offset": numbers.storage_offset(), "dtype": numbers.dtype}
        made = Tensor._make_wrapper_subclass(cls, numbers.shape, device=_INSIDE, **layout)
        made.numbers = numbers
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
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
        return self.numbers.data_ptr()

    def tolist(self) -> Any:
        return self.numbers.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __dlpack__(self, *_: Any, **__: Any) -> Any:
        raise BufferError("a tensor of cuda:0 is no buffer of the processor")

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied: Tensor = SecondDeviceTensor(self.numbers.clone())
        copied = nn.Parameter(copied, self.requires_grad) if isinstance(self, nn.Parameter) else copied
        memo[id(self)] = copied.requires_grad_(self.requires_grad)
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.numbers.__reduce_ex__(protocol)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"{self.numbers!r} on {DEVICE}"


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
        told = {"mem_get_info": (_PLENTY_BYTES, _PLENTY_BYTES), "memory_reserved": 0, "max_memory_allocated": 0}
        for name, value in told.items():
            stack.enter_context(patch.object(torch.cuda, name, lambda *_, value=value: value))
        slabs = separable_projection.SLAB_BYTES  # sums in the order of the processor
        stack.enter_context(patch.object(separable_projection, "ACCELERATOR_SLAB_BYTES", slabs))
        stack.enter_context(patch.object(torch, "Generator", _Generator))
        functions = _Functions()
        backward = functions.around(_engine_run_backward)
        stack.enter_context(patch.object(torch.autograd, "_engine_run_backward", backward))
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
    """What an operator makes of the numbers, on the device where CUDA would leave it."""
    given = [*_tensors(args), *_tensors(kwargs.values())]
    ours = [one for one in given if isinstance(one, SecondDeviceTensor)]
    wanted = kwargs.get("device")
    there = bool(ours) if wanted is None else wanted.type == _INSIDE.type
    if not ours and not there:
        return operator(*args, **kwargs)
    if 0 < len(ours) < len(given) and operator.overloadpacket not in _CARRIERS:
        _require_one_device(operator, args, kwargs)
    if "device" in kwargs:
        kwargs = {**kwargs, "device": PROCESSOR}
    result = operator(*_each(args, _numbers_of), **{name: _each(value, _numbers_of) for name, value in kwargs.items()})
    for one in ours:
        if one.shape != one.numbers.shape:
            raise NotImplementedError(f"{operator} changes a shape in place, which tests/second_device.py cannot follow")
    same = {id(one): one for one in given if not isinstance(one, SecondDeviceTensor)} | {id(one.numbers): one for one in ours}

    def placed(one: Tensor) -> Tensor:
        return same[id(one)] if id(one) in same else SecondDeviceTensor(one) if there else one

    return _each(result, placed)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """All tensors; lists and tuples are all that operators nest."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The value with all its tensors changed."""
    if isinstance(value, Tensor):
        return change(value)
    return type(value)(_each(one, change) for one in value) if isinstance(value, list | tuple) else value


def _numbers_of(one: Tensor) -> Tensor:
    return one.numbers if isinstance(one, SecondDeviceTensor) else one


def _require_one_device(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise as CUDA does where an operator gets tensors of both devices."""
    takes_numbers = torch.Tag.pointwise in operator.tags or operator.overloadpacket in _TAKE_NUMBERS
    for place, argument in enumerate(operator._schema.arguments):
        value = args[place] if place < len(args) else kwargs.get(argument.name)
        written = argument.alias_info is not None and argument.alias_info.is_write
        indices = operator.overloadpacket in _INDEXED and argument.name == "indices"
        for one in _tensors([value]):
            if isinstance(one, SecondDeviceTensor):
                continue
            indexes = indices and isinstance(args[0], SecondDeviceTensor)
            if one.is_meta:
                raise NotImplementedError(f"{operator} got a tensor that was made past tests/second_device.py")
            if written or not (indexes or (takes_numbers and one.dim() == 0)):
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
