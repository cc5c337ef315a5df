"""The NumPy reference, and whatever speaks the suite's own protocol."""

import inspect
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import LionConfig
from lion_ports.conformance.adapters.target import Adapter, Target, TargetError, settings_of
from lion_ports.conformance.protocol import Arrays, UnsupportedError
from lion_ports.state import PortableState


def adapt(target: Target, device: str) -> Adapter:
    """Fresh references, or fresh results of the function that a ``python:`` target names."""
    if device != "cpu":
        raise TargetError(f"--impl {target.spec} runs on the cpu; --device {device} does not apply")
    if target.kind == "numpy":
        if target.kwargs or target.rename:
            raise TargetError("--kwarg and --rename do not apply to the reference")
        return Adapter(target, Reference, device=device)
    target.load()
    return Adapter(target, lambda: Python(target.make()), device=device)


class Reference:
    """``lion_ports.reference`` as an implementation under test."""

    offers = ("frozen",)

    def construct(self, params: Arrays, settings: Mapping[str, Any], mask: Any) -> None:
        """Take parameters and settings by name."""
        self._config = LionConfig.from_options(settings)
        self._mask = mask
        self._params = dict(params)
        self._state = reference.init(params, self._config)

    def start(
        self,
        params: Arrays,
        config: LionConfig,
        mask: Any = None,
        *,
        defaults: bool = False,
        frozen: frozenset[str] = frozenset(),
    ) -> None:
        """Take parameters and settings."""
        self.construct(params, settings_of(config, defaults=defaults), mask)
        self.freeze(frozen)

    def freeze(self, names: frozenset[str]) -> None:
        """Nothing: what is frozen has no gradient, and what has none is left alone (L-003)."""

    def step(self, grads: Mapping[str, NDArray[Any] | None], lr: float) -> None:
        """Make one update."""
        given = None if callable(self._config.lr) else lr
        self._params, self._state = reference.step(
            self._params, grads, self._state, self._config, lr=given, mask=self._mask
        )

    def params(self) -> dict[str, NDArray[Any]]:
        """The parameters now."""
        return dict(self._params)

    def momentum(self) -> dict[str, NDArray[Any]]:
        """The momentum that is stored, that of 8 bits as what it stands for."""
        return {n: reference.load_momentum(self._state, n) for n in self._state.momentum}

    def average(self) -> dict[str, NDArray[Any]] | None:
        """The averages, if there are any."""
        return dict(self._state.average) or None

    def load(self, params: Arrays, momentum: Arrays) -> None:
        """Go on from this state."""
        self._params, self._state = dict(params), reference.copies(self._state)
        for name, m in momentum.items():
            reference.store_momentum(self._state, name, m)

    def export(self) -> PortableState:
        """The state as L-030 has it."""
        return reference.export_state(self._params, self._state)

    def adopt(self, state: PortableState) -> None:
        """Go on from such a state."""
        self._params, self._state = reference.import_state(state)


class Python:
    """An implementation of the suite's protocol, with what it leaves out filled in."""

    def __init__(self, implementation: Any) -> None:
        self._inner = implementation

    def start(
        self, params: Arrays, config: LionConfig, mask: Any = None, *, defaults: bool = False
    ) -> None:
        """Take parameters and settings; ``mask`` goes to those that have such an argument."""
        if defaults:
            raise UnsupportedError("defaults of its own")
        if mask is None:
            self._inner.start(params, config)
        elif "mask" in inspect.signature(self._inner.start).parameters:
            self._inner.start(params, config, mask=mask)
        else:
            raise UnsupportedError("a weight decay mask")

    def step(self, grads: Mapping[str, NDArray[Any] | None], lr: float) -> None:
        """Make one update."""
        self._inner.step(grads, lr)

    def params(self) -> dict[str, NDArray[Any]]:
        """Copies of the parameters now."""
        return {n: x.copy() for n, x in self._inner.params().items()}

    def momentum(self) -> dict[str, NDArray[Any]] | None:
        """Copies of the momentum, or None where it is hidden."""
        momentum = self._inner.momentum()
        return None if momentum is None else {n: m.copy() for n, m in momentum.items()}

    def load(self, params: Arrays, momentum: Arrays) -> None:
        """Go on from this state."""
        if not hasattr(self._inner, "load"):
            raise UnsupportedError("load")
        self._inner.load(params, momentum)

    def average(self) -> dict[str, NDArray[Any]] | None:
        """Copies of the averages, or None where it shows none."""
        averages = self._inner.average() if hasattr(self._inner, "average") else None
        return None if averages is None else {n: e.copy() for n, e in averages.items()}

    def export(self) -> PortableState:
        """The state as L-030 has it."""
        if not hasattr(self._inner, "export"):
            raise UnsupportedError("portable state")
        state: PortableState = self._inner.export()
        return state

    def adopt(self, state: PortableState) -> None:
        """Go on from such a state."""
        self._inner.adopt(state)
