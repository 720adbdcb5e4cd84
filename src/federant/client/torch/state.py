"""A module's parameters and buffers as the dict of tensors that travels, and back.

What travels is what `state_dict` has, each piece of memory once: of tied weights the first name.
Buffers that are not persistent belong to the site and stay there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from federant.client.fitting import ParameterMismatchError, listed, mismatch
from federant.client.torch.tensors import tensor_of

_WRAPPERS = {"DistributedDataParallel": "module", "DataParallel": "module"}
_COMPILED = "_orig_mod"
_EXTRA_STATE = "_extra_state"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `load_parameters` has done, by name."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """The module has them, the model does not: they stay as they were."""
    unexpected: tuple[str, ...] = ()
    """The model has them, the module does not."""


def parameters_of(
    module: torch.nn.Module,
    *,
    trainable_only: bool = False,
    names: Collection[str] | None = None,
) -> dict[str, Any]:
    """A module's state by name, as it lies: the tensors share the module's memory.

    So use it before you train on. It is what the module's `state_dict` has, detached from autograd,
    on its own device; of weights that are tied only the first name, unless `names` asks for others.
    The names are those of the plain module, also if DistributedDataParallel or torch.compile wraps
    it.

    Args:
        trainable_only: only the parameters that require a gradient (a LoRA adapter, the head on a
            frozen backbone), and the buffers of those modules that own one of them.
        names: exactly these, for a federation's model that holds a part of the module.

    Raises:
        ParameterMismatchError: `names` has one that the module has not.
    """
    state = _state(module)
    if names is not None:
        if unknown := tuple(name for name in names if name not in state):
            raise ParameterMismatchError(
                f"{type(plain_module(module)).__name__} has no {listed(unknown)}, which the names "
                "ask for; build the module as the federation's model was built",
                *((), unknown, {}),
            )
        return {name: _as_it_lies(state[name]) for name in names}
    wanted = _trainable(module, state) if trainable_only else state
    return {name: _as_it_lies(state[name]) for name in _once(wanted, state)}


def load_parameters(
    module: torch.nn.Module,
    params: Mapping[str, Any] | None,
    *,
    strict: bool = True,
    trainable_only: bool = False,
) -> Loaded:
    """Copy a received model into a module, in place.

    The module's tensors stay the same objects, so an optimizer that knows them goes on; each keeps
    its dtype and device, and ties hold. Values may be tensors or numpy arrays. Each is copied
    once, from where it was received: writing later into memory that is mapped from a spool would
    cost more than that copy.

    A model without any parameters (None, `{}`) loads nothing: it is what the first round of a job
    without an initial model brings, and each trainer begins with its own.

    Args:
        strict: the model must have all that `parameters_of` would send, and nothing else. False
            loads what both have. A value of another shape is refused in any case.
        trainable_only: as for `parameters_of`; the rest of the module is not missed.

    Raises:
        ParameterMismatchError: it does not fit. Nothing was loaded.
    """
    if not params:
        return Loaded(())
    state = _state(module)
    wanted = _trainable(module, state) if trainable_only else state
    ours = {name: _memory(name, state[name]) for name in wanted}
    known = {name: state[name] for name in params if name in state}
    unexpected = tuple(name for name in params if name not in state)
    reached = {_memory(name, value) for name, value in known.items()}
    missing = tuple(name for name in _once(wanted, state) if ours[name] not in reached)
    misfits: dict[str, str] = {}
    sources: dict[str, Any] = {}
    for name, target in known.items():
        try:
            sources[name] = _source(params[name], target)
        except (TypeError, ValueError) as error:
            misfits[name] = str(error)
    if misfits or (strict and (missing or unexpected)):
        raise _mismatch(module, missing, unexpected, misfits, strict=strict)
    _load(plain_module(module), sources, state)
    return Loaded(tuple(sources), missing, unexpected)


def plain_module(module: torch.nn.Module) -> torch.nn.Module:
    """The module itself, without DistributedDataParallel, DataParallel and torch.compile."""
    while True:
        inner = getattr(module, _WRAPPERS.get(type(module).__name__, _COMPILED), None)
        if not isinstance(inner, torch.nn.Module):
            return module
        module = inner


def _state(module: torch.nn.Module) -> dict[str, Any]:
    """Parameters as objects, not detached: two names of one are known by that."""
    state: dict[str, Any] = plain_module(module).state_dict(keep_vars=True)
    return state


def _trainable(module: torch.nn.Module, state: Mapping[str, Any]) -> list[str]:
    """The names of what is trained, in the state's order."""
    owners = {
        prefix
        for prefix, part in plain_module(module).named_modules()
        if any(parameter.requires_grad for parameter in part.parameters(recurse=False))
    }
    buffers = {name for name, _ in plain_module(module).named_buffers(remove_duplicate=False)}

    def is_trained(name: str, value: Any) -> bool:
        if isinstance(value, torch.nn.Parameter):
            return bool(value.requires_grad)
        belongs = name in buffers or name.rpartition(".")[2] == _EXTRA_STATE
        return belongs and name.rpartition(".")[0] in owners

    return [name for name, value in state.items() if is_trained(name, value)]


def _once(names: Iterable[str], state: Mapping[str, Any]) -> list[str]:
    """Of names for the same memory the first."""
    firsts: dict[object, str] = {}
    for name in names:
        firsts.setdefault(_memory(name, state[name]), name)
    return list(firsts.values())


def _memory(name: str, value: Any) -> object:
    """Equal for two names of the same numbers in memory."""
    if not isinstance(value, torch.Tensor):
        return name
    if not value.numel() or value.is_meta or value.layout is not torch.strided:
        return id(value)
    place = (value.device, value.data_ptr(), value.dtype)
    return (*place, tuple(value.shape), value.stride())


def _as_it_lies(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def _source(value: Any, target: Any) -> Any:
    """What is to be copied into the target; TypeError or ValueError if it cannot be."""
    if not isinstance(target, torch.Tensor):
        return value
    source = tensor_of(value)
    if source.shape != target.shape:
        here, there = tuple(target.shape), tuple(source.shape)
        raise ValueError(f"has shape {here} here, {there} in the model")
    if target.is_meta:
        raise ValueError("is on the meta device here and has no memory to load into")
    if source.is_complex() and not target.is_complex():
        raise ValueError(f"is {target.dtype} here, {source.dtype} in the model")
    return source


def _load(module: torch.nn.Module, sources: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """By the module's own way, which knows its hooks and its extra state; it copies in place."""
    known = OrderedDict(sources)
    # The versions of its parts: without them some take the values for those of an older torch.
    known._metadata = getattr(state, "_metadata", {})  # type: ignore[attr-defined]  # noqa: SLF001
    module.load_state_dict(known, strict=False)


def _mismatch(
    module: torch.nn.Module,
    missing: tuple[str, ...],
    unexpected: tuple[str, ...],
    misfits: Mapping[str, str],
    *,
    strict: bool,
) -> ParameterMismatchError:
    advice = "build the same module at every site and for the initial model"
    if strict and not misfits:
        advice += ", or pass strict=False to load the names that both have"
    who = type(plain_module(module)).__name__
    return mismatch(
        *(who, missing, unexpected, misfits), advice=advice, kind="module", strict=strict
    )
