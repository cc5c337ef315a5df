"""What an optimizer keeps from step to step: made, assigned, copied and looked at."""

from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from lion_ports.config import LionConfig
from lion_ports.mlx.arithmetic import compute_dtype
from lion_ports.mlx.groups import Grouped
from lion_ports.mlx.rates import Rates
from lion_ports.mlx.step import init_counters, init_slots
from lion_ports.mlx.structure import refuse_other_slots, refuse_other_state
from lion_ports.mlx.trees import Leaf, Slots, entries, packed, unpacked


class Stateful(Grouped):
    """An optimizer with groups and a state, which is a tree of arrays."""

    config: LionConfig
    _initialized: bool
    _rates: Rates
    _state: Any

    def init(self, parameters: Any) -> None:
        """Make what is missing in the state beside every parameter (L-002).

        Raises:
            DtypeError: a parameter is neither floating nor complex; then nothing is made.
        """
        self._leaves(parameters)
        self._initialized = True

    def _leaves(self, parameters: Any) -> list[Leaf]:
        """Path, parameter and slots, of which none is missing any more."""
        named = [(path, x) for path, x in tree_flatten(parameters) if isinstance(x, mx.array)]
        if mx.float64 in [compute_dtype(x.dtype, path) for path, x in named]:
            self._rates.use_float64()
        leaves = list(entries(parameters, self.state))
        refuse_other_slots(leaves)
        for path, x, slots in leaves:
            init_slots(x, slots, self.group_of(path, x).config)
        return leaves

    @property
    def state(self) -> Any:
        """The state as a tree: ``step``, ``learning_rate``, ``lion`` and the parameters' slots.

        A tree that was saved may be assigned; what it lacks is begun anew, so that the state of
        ``mlx.optimizers.Lion`` serves as well. That of another optimizer is a StateError, and so
        is one in the middle of more micro-steps than are made here (L-025). A top-level parameter
        named like one of the three is found under ``parameter:NAME``.
        """
        return self._state

    @state.setter
    def state(self, state: Any) -> None:
        refuse_other_state(state, self.config.gradient_accumulation_steps)
        self._state = state
        self._initialized = False
        self._complete()

    @property
    def loss_scale(self) -> mx.array:
        """What to multiply the loss by, as a scalar array (L-024); 1 without the option."""
        if self.config.dynamic:
            return self._counters["loss_scale"]
        scale = self.config.loss_scale
        return mx.array(1.0 if scale is None else float(scale))

    @property
    def skipped(self) -> int:
        """Steps left out by ``nonfinite="skip"`` or a dynamic loss scale."""
        return int(self._counters.get("skipped", 0))

    def _complete(self) -> None:
        """Put the scalars in the state that it does not have."""
        self._state.setdefault("step", mx.array(0, mx.uint64))
        self._rates.complete()
        counters: Slots = self._state.get("lion", {})
        init_counters(counters, self.config)
        if counters:
            self._state["lion"] = counters

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_state": packed(self._state), "_swapped": 0}

    def __setstate__(self, held: dict[str, Any]) -> None:
        self.__dict__.update(held, _state=unpacked(held["_state"]))

    @property
    def _counters(self) -> Slots:
        counters: Slots = self._state.get("lion", {})
        return counters
