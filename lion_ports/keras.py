"""The state of Keras' own Lion in the form that all backends share (L-030).

Keras has a Lion, on whichever backend it runs; a run can begin there and go on here, or the other
way. docs/keras.md says what the two do alike and what not. Importing this module imports no Keras.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lion_ports.errors import StateError
from lion_ports.reference import compute_dtype, narrow, widen
from lion_ports.state import PortableState

Array = NDArray[Any]


class Held(NamedTuple):
    """A variable of a model, and what the optimizer keeps of it: None where the option is off."""

    variable: Any
    momentum: Any
    average: Any
    gradient_sum: Any


def export_state(variables: Any, optimizer: Any) -> PortableState:
    """Parameters and optimizer as NumPy arrays by name (L-030).

    A name is the path of its variable with dots, ``"sequential.dense.kernel"``. Keras keeps
    averages and sums of gradients in the dtype of the variable; the compute dtype, in which they
    are returned, holds them exactly. It counts neither the steps that a loss scale left out nor,
    variable by variable, the gradients in a sum: ``skipped`` is 0, and ``seen`` the number of
    micro-steps. The learning rate is a setting, and no part of the state.

    Args:
        variables: a model or layer, or its trainable ``keras.Variable``s. Those that are not the
            optimizer's are left out.
        optimizer: a built ``keras.optimizers.Lion``, or a ``LossScaleOptimizer`` with one inside.

    Raises:
        StateError: the optimizer is no Lion or not built, one of its variables is not among
            ``variables``, or two of them have the same path.
    """
    lion, scaling = _unwrapped(optimizer)
    held = _held(variables, lion)
    steps = lion.gradient_accumulation_steps or 1
    count, micro = divmod(int(lion._iterations.numpy()), steps)
    # Keras begins an average at the first step, and until then it is zero.
    averages = count > 0 or micro > 0
    sums = {name: _wide(of.gradient_sum) for name, of in held.items()} if micro else {}
    return PortableState(
        {name: np.array(of.variable.numpy()) for name, of in held.items()},
        {name: np.array(of.momentum.numpy()) for name, of in held.items()},
        average={
            n: _wide(of.average) for n, of in held.items() if of.average is not None and averages
        },
        gradient_sum=sums,
        seen=dict.fromkeys(sums, micro),
        count=count,
        micro=micro,
        loss_scale=None if scaling is None else float(scaling.dynamic_scale.numpy()),
        good_steps=0 if scaling is None else int(scaling.step_counter.numpy()),
    )


def import_state(portable: PortableState, variables: Any, optimizer: Any) -> None:
    """Set variables and optimizer to a saved state, from which Keras goes on (L-030).

    What Keras has no place for is refused, but for ``skipped`` and ``seen``, which no step depends
    on as long as every variable has a gradient. What was not saved begins anew.

    Args:
        portable: from :func:`export_state` of any backend, or ``lion_ports.load_state``.
        variables: as in :func:`export_state`; they are changed in place.
        optimizer: as in :func:`export_state`, made with the same options and built.

    Raises:
        StateError: names, shapes, dtypes or options differ, or an array would have to be rounded
            to the dtype of its variable; the message says which. Nothing has changed.
    """
    lion, scaling = _unwrapped(optimizer)
    held = _held(variables, lion)
    _refuse_other_parameters(portable, held)
    _refuse_missing_options(portable, lion, scaling)
    restored = [pair for name, of in held.items() for pair in _restored(portable, name, of)]
    for variable, array in restored:
        variable.assign(array)
    steps = lion.gradient_accumulation_steps or 1
    lion._iterations.assign(portable.count * steps + portable.micro)
    if scaling is not None:
        saved = portable.loss_scale
        scaling.dynamic_scale.assign(scaling.initial_scale if saved is None else saved)
        scaling.step_counter.assign(portable.good_steps)


def _unwrapped(optimizer: Any) -> tuple[Any, Any]:
    """The Lion, and the LossScaleOptimizer around it or None."""
    optimizers = import_module("keras").optimizers
    scaling = optimizer if isinstance(optimizer, optimizers.LossScaleOptimizer) else None
    lion = optimizer if scaling is None else scaling.inner_optimizer
    if not isinstance(lion, optimizers.Lion):
        raise StateError(f"the optimizer is {type(lion).__name__}, not a keras.optimizers.Lion")
    if not (lion.built and optimizer.built):
        raise StateError(
            "the optimizer has no state yet; call optimizer.build(model.trainable_variables) first"
        )
    return lion, scaling


def _held(variables: Any, lion: Any) -> dict[str, Held]:
    """By name, the variables of the optimizer that Lion updates.

    Keras has no public names for these lists; all of them are in the order of the variables that
    the optimizer was built with, and have None for one that its gradient overwrites (float8).
    """
    given: Iterable[Any] = getattr(variables, "trainable_variables", variables)
    known = {id(variable) for variable in given}
    unused = [None] * len(lion._momentums)
    lists = (
        lion._trainable_variables,
        lion._momentums,
        lion._model_variables_moving_average if lion.use_ema else unused,
        lion._accumulated_gradients if lion.gradient_accumulation_steps else unused,
    )
    held: dict[str, Held] = {}
    for of in (Held(*slots) for slots in zip(*lists, strict=True)):
        if of.momentum is None:
            continue
        path = of.variable.path
        if id(of.variable) not in known:
            raise StateError(
                f"the optimizer's variable {path!r} is not among those given; give the model, or "
                "the variables, that it was built with"
            )
        if (name := path.replace("/", ".")) in held:
            raise StateError(f"two variables have the path {path!r}; rename one of them")
        held[name] = of
    return held


def _wide(variable: Any) -> Array:
    """A copy of a Keras variable in its compute dtype; what is complex stays complex."""
    array: Array = np.array(variable.numpy())
    return array if array.dtype.kind == "c" else widen(array, compute_dtype(array.dtype))


def _restored(portable: PortableState, name: str, of: Held) -> list[tuple[Any, Array]]:
    """What is to be assigned to a variable, and to what the optimizer keeps of it."""
    x = portable.parameters[name]
    restored = [(of.variable, x)]
    places: list[tuple[str, Any, Mapping[str, Array], Array]] = [
        ("momentum", of.momentum, portable.momentum, np.zeros_like(x)),
        ("average", of.average, portable.average, x),
        ("gradient sum", of.gradient_sum, portable.gradient_sum, np.zeros_like(x)),
    ]
    for kind, place, saved, new in places:
        if place is not None:
            restored.append((place, _stored(f"{kind} of {name!r}", saved.get(name, new), x.dtype)))
    return restored


def _stored(what: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """An array in the dtype of its variable, which is the only one that Keras keeps."""
    stored = narrow(array, dtype)
    if not np.array_equal(stored.astype(array.dtype), array, equal_nan=True):
        raise StateError(
            f"the {what} was saved as {array.dtype} and has digits that {dtype}, in which Keras "
            "keeps it, does not have"
        )
    return stored


def _refuse_other_parameters(portable: PortableState, held: Mapping[str, Held]) -> None:
    if lost := [name for name in held if name not in portable.parameters]:
        raise StateError(f"the saved state has no parameter {lost[0]!r}")
    if extra := [name for name in portable.parameters if name not in held]:
        raise StateError(f"the saved state has {extra[0]!r}, which is no parameter of this Lion")
    for name, of in held.items():
        saved, due = portable.parameters[name], of.variable.numpy()
        if saved.shape != due.shape:
            raise StateError(f"{name!r} was saved with shape {saved.shape}, and has {due.shape}")
        if saved.dtype != due.dtype:
            raise StateError(
                f"{name!r} was saved as {saved.dtype}, and is {due.dtype}; make the model with the "
                "dtype that was saved"
            )


def _refuse_missing_options(portable: PortableState, lion: Any, scaling: Any) -> None:
    """A run with an option does not go on as the same run without it."""
    if portable.lr_peak:
        raise StateError(
            "the saved state is of a Lion with decay='independent', which Keras' Lion does not have"
        )
    if portable.micro >= (steps := lion.gradient_accumulation_steps or 1):
        raise StateError(
            f"the saved state is {portable.micro} micro-steps into an update, and this optimizer "
            f"makes one of {steps}; give it the gradient_accumulation_steps of the saved one"
        )
    without = {
        "use_ema": bool(portable.average) and not lion.use_ema,
        "a LossScaleOptimizer around it": portable.loss_scale is not None and scaling is None,
    }
    for option, missing in without.items():
        if missing:
            raise StateError(
                f"the saved state needs {option}, and this optimizer is without; make it with the "
                "same options"
            )
