"""A program in any language, behind the protocol of docs/conformance-exec.md."""

import math
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from lion_ports.config import LionConfig
from lion_ports.conformance.adapters.offering import OPTIONS
from lion_ports.conformance.adapters.program import PAGE, Program, ProgramError, RefusedError
from lion_ports.conformance.adapters.target import Adapter, Target, TargetError, settings_of
from lion_ports.conformance.adapters.wire import WireError, decode, encode
from lion_ports.conformance.protocol import Arrays, UnsupportedError
from lion_ports.state import PortableState


def adapt(target: Target, device: str) -> Adapter:
    """Fresh processes of the program that the target names, after one handshake.

    Raises:
        TargetError: it cannot be started, or does not shake hands.
    """
    if device != "cpu":
        raise TargetError(
            f"--exec {target.module!r}: a program chooses its own device; --device {device} does "
            "not apply"
        )
    try:
        hello = Program(target.module, target.seconds).hello
    except (ProgramError, RefusedError, UnsupportedError) as error:
        raise TargetError(f"--exec {target.module!r}: {error}") from error
    version = " ".join(str(hello[key]) for key in ("name", "version") if key in hello)
    return Adapter(
        target,
        lambda: Exec(target),
        device=device,
        flushes=hello.get("subnormals") == "flushed",
        version=version or "local",
    )


class Exec:
    """One optimizer in a process of its own."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._program = Program(target.module)
        hello = self._program.hello
        self._dtypes, self._options = hello["dtypes"], hello.get("options", [])
        self._commands = hello.get("commands", [])
        self._started = False

    def construct(self, params: Arrays, settings: Mapping[str, Any], mask: Any) -> None:
        """Start with settings by name, which need not be right (L-020).

        A schedule of the learning rate stays here: each step brings what it gives.
        """
        settings = dict(settings)
        if callable(settings["lr"]):
            settings["lr"] = float(settings["lr"](0))
        if callable(settings.get("weight_decay")):
            raise UnsupportedError("a schedule of weight_decay, which no request carries")
        for name in [*settings, *(["mask"] if mask is not None else [])]:
            if name in OPTIONS and name not in self._options:
                raise UnsupportedError(f"option {name}")
        self._refuse_dtypes(params)
        names = self._target.rename
        config = {**self._target.kwargs, **{names.get(n, n): v for n, v in settings.items()}}
        self._program.ask(
            "start", params=_encoded(params), config={n: _plain(v) for n, v in config.items()},
            mask=None if mask is None else dict(mask),
        )  # fmt: skip
        self._started = True

    def start(
        self, params: Arrays, config: LionConfig, mask: Any = None, *, defaults: bool = False
    ) -> None:
        """Take parameters and settings."""
        self.construct(params, settings_of(config, defaults=defaults), mask)

    def step(self, grads: Mapping[str, NDArray[Any] | None], lr: float) -> None:
        """Make one update."""
        self._refuse_dtypes({n: g for n, g in grads.items() if g is not None})
        self._program.ask("step", lr=float(lr), grads=_encoded(grads))

    def params(self) -> dict[str, NDArray[Any]]:
        """The parameters now; none where the settings were refused."""
        if not self._started:
            return {}
        found = self._arrays("params")
        if found is None:
            raise ProgramError("the answer to 'params' holds null, and no arrays")
        return found

    def momentum(self) -> dict[str, NDArray[Any]] | None:
        """The momentum as stored; None where the program does not show it."""
        return self._arrays("momentum") if "momentum" in self._commands else None

    def average(self) -> dict[str, NDArray[Any]] | None:
        """The averages, if it shows them."""
        return self._arrays("average") if "average" in self._commands else None

    def load(self, params: Arrays, momentum: Arrays) -> None:
        """Go on from this state."""
        if "load" not in self._commands:
            raise UnsupportedError("load")
        self._program.ask("load", params=_encoded(params), momentum=_encoded(momentum))

    def export(self) -> PortableState:
        """No request carries the state of L-030."""
        raise UnsupportedError("portable state, which no request carries")

    def _arrays(self, what: str) -> dict[str, NDArray[Any]] | None:
        answer = self._program.ask(what)
        try:
            found = answer[what]
            return None if found is None else {n: decode(array) for n, array in found.items()}
        except (KeyError, AttributeError) as error:
            raise ProgramError(f"the answer to {what!r} has no arrays by name ({PAGE})") from error
        except WireError as error:
            raise ProgramError(f"the answer to {what!r}: {error} ({PAGE})") from error

    def _refuse_dtypes(self, arrays: Arrays) -> None:
        for array in arrays.values():
            if array.dtype.name not in self._dtypes:
                raise UnsupportedError(f"dtype {array.dtype.name}")


def _encoded(arrays: Mapping[str, NDArray[Any] | None]) -> dict[str, Any]:
    return {n: None if a is None else encode(a) for n, a in arrays.items()}


def _plain(value: Any) -> Any:
    """JSON has no infinity and no NaN: as words they are what no client takes for a number."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
