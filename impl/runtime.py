"""Policies that act while a model runs: what a cache keeps, which units a token needs.

Such a method changes no weight. Its result is a policy that is attached to the
model, by hooks, and acts wherever the model runs: on a text, in `generate`,
with and without a cache. Which policies a model has is kept here, beside the
model and not on it, so that its state dict and config stay plain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import PreTrainedModel

from impl.errors import BadInput


class Policy(Protocol):
    """What acts on a model while it runs.

    `remove` undoes `install` to the last hook. `state` is all that is needed
    to make the policy again: options, as JSON, and tensors by name.
    """

    name: str
    """The method's"""

    def install(self, model: PreTrainedModel) -> None: ...

    def remove(self) -> None: ...

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]: ...


Restorer = Callable[[PreTrainedModel, dict[str, Any], dict[str, Tensor]], None]
Function = TypeVar("Function", bound=Restorer)

_attached: WeakKeyDictionary[nn.Module, list[Policy]] = WeakKeyDictionary()
_RESTORERS: dict[str, Restorer] = {}


def attach(model: PreTrainedModel, policy: Policy) -> None:
    """Let `policy` act on `model` from now on, instead of any of the same name."""
    detach(model, policy.name)
    policy.install(model)
    _attached.setdefault(model, []).append(policy)


def attached(model: nn.Module) -> list[Policy]:
    """The policies that act on `model`, in the order in which they were attached."""
    return list(_attached.get(model, []))


def detach(model: nn.Module, name: str | None = None) -> None:
    """Take the policy called `name` off, or all of them; the model is then as it was before."""
    for policy in attached(model):
        if name is None or policy.name == name:
            policy.remove()
            _attached[model].remove(policy)


def restores(name: str) -> Callable[[Function], Function]:
    """Register how the policy of the method `name` is attached again, given its saved state."""

    def register(function: Function) -> Function:
        _RESTORERS[name] = function
        return function

    return register


def restore(
    model: PreTrainedModel, name: str, options: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Attach the policy that the method `name` saved as `options` and `tensors`.

    Raises `BadInput` if there is no such policy or the state is not one of its.
    """
    if name not in _RESTORERS:
        raise BadInput(f"{name} leaves no policy that acts while a model runs")
    try:
        _RESTORERS[name](model, dict(options), dict(tensors))
    except BadInput:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise BadInput(
            f"the saved policy of {name} does not fit this model: {error}",
            "Save the pruned model again.",
        ) from error
