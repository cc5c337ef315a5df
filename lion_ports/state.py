"""The state of an optimizer in one form for all backends, and its file (L-030)."""

import contextlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from lion_ports.errors import StateError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# NumPy is imported when a file is written or read, so that --help answers at once.

FORMAT = "lion-ports-state"
VERSION = (1, 2)
"""The specification's version, which is the file's: a higher second number is newer."""

_TENSORS = (
    "parameters",
    "momentum",
    "momentum_scale",
    "correction",
    "average",
    "gradient_sum",
)


@dataclass(frozen=True)
class PortableState:
    """Parameters and optimizer as NumPy arrays by canonical name (dotted paths).

    What belongs to an option that is off is empty, zero or None. bfloat16 arrays are
    ``ml_dtypes.bfloat16``.

    Args:
        parameters: any shapes and floating or complex dtypes.
        momentum: one beside every parameter, in the dtype that it is stored in (L-016).
        momentum_scale: of each int8 momentum, one bfloat16 for every 128 elements (L-031).
        correction: of each bfloat16 parameter that has one, int8 or int16 (L-032).
        average: moving averages, in the compute dtype (L-029).
        gradient_sum: sums over micro-steps, in the compute dtype, by parameter that had a gradient
            in this window (L-025).
        seen: how many gradients are in each of these sums.
        count: updates done (L-015).
        skipped: steps left out (L-019).
        micro: micro-steps since the last update (L-025).
        loss_scale: where it is dynamic (L-024).
        good_steps: finite steps since the scale last changed (L-024).
        lr_peak: by parameter, what its independent decay divides by (L-017).

    Raises:
        StateError: names or shapes do not fit together, or a counter is negative.

    >>> import numpy as np
    >>> x, m = np.ones(2, np.float32), np.zeros(2, np.float32)
    >>> PortableState({"w": x}, {"w": m}, count=3).count
    3
    >>> PortableState({"w": x}, {})
    Traceback (most recent call last):
    ...
    lion_ports.errors.StateError: the state has no momentum of 'w'
    """

    parameters: "Mapping[str, NDArray[Any]]"
    momentum: "Mapping[str, NDArray[Any]]"
    momentum_scale: "Mapping[str, NDArray[Any]]" = field(default_factory=dict)
    correction: "Mapping[str, NDArray[Any]]" = field(default_factory=dict)
    average: "Mapping[str, NDArray[Any]]" = field(default_factory=dict)
    gradient_sum: "Mapping[str, NDArray[Any]]" = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    count: int = 0
    skipped: int = 0
    micro: int = 0
    loss_scale: float | None = None
    good_steps: int = 0
    lr_peak: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in _TENSORS[1:]:
            for name, array in getattr(self, kind).items():
                if name not in self.parameters:
                    raise StateError(f"the state has {kind} of {name!r}, which is no parameter")
                due = self.parameters[name].shape
                if kind == "momentum_scale":
                    due = (-(-math.prod(due) // 128),)
                if array.shape != due:
                    raise StateError(
                        f"the {kind} of {name!r} has shape {array.shape}, and {due} belongs beside "
                        "its parameter"
                    )
        if lost := [name for name in self.parameters if name not in self.momentum]:
            raise StateError(f"the state has no momentum of {lost[0]!r}")
        for name, c in self.correction.items():
            beside = self.parameters[name].dtype.name
            if c.dtype.name not in ("int8", "int16") or beside != "bfloat16":
                raise StateError(
                    f"the correction of {name!r} is {c.dtype} beside {beside}; it has to be int8 "
                    "or int16 beside bfloat16"
                )
        small = {name for name, m in self.momentum.items() if m.dtype.name == "int8"}
        if odd := sorted(small ^ self.momentum_scale.keys()):
            raise StateError(
                f"the momentum of {odd[0]!r} is {self.momentum[odd[0]].dtype}, and an int8 one has "
                "a momentum_scale, no other has"
            )
        if self.seen.keys() != self.gradient_sum.keys():
            raise StateError("the state has gradient sums without their counts, or the other way")
        for name in ("count", "skipped", "micro", "good_steps"):
            if not (isinstance(value := getattr(self, name), int) and value >= 0):
                raise StateError(f"the state's {name} is {value!r}, not a whole number >= 0")


def save_state(path: str | os.PathLike[str], state: PortableState) -> None:
    """Write a state as one safetensors file, whole or not at all (L-030).

    >>> import numpy as np
    >>> x, m = np.ones(2, np.float32), np.zeros(2, np.float32)
    >>> path = getfixture("tmp_path") / "state.safetensors"
    >>> save_state(path, PortableState({"w": x}, {"w": m}, count=3))
    >>> load_state(path).count
    3

    Raises:
        OSError: the disk does not take it; what was at ``path`` is then still there.
    """
    from lion_ports.tensors import to_bytes

    tensors = {f"{kind}/{n}": a for kind in _TENSORS for n, a in getattr(state, kind).items()}
    record = {f.name: getattr(state, f.name) for f in fields(state) if f.name not in _TENSORS}
    record = {name: dict(v) if isinstance(v, Mapping) else v for name, v in record.items()}
    metadata = {
        "format": FORMAT,
        "spec": ".".join(map(str, VERSION)),
        "state": json.dumps(record),
    }
    path = Path(path)
    with NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as beside:
        try:
            beside.write(to_bytes(tensors, metadata))
            beside.flush()
            os.fsync(beside.fileno())
            os.replace(beside.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside.name)
            raise


def load_state(path: str | os.PathLike[str]) -> PortableState:
    """Read a state that :func:`save_state` wrote.

    Raises:
        StateError: there is no such file, or it is damaged, foreign, or of a newer version; the
            message says which.
    """
    from lion_ports.tensors import from_bytes

    try:
        return _state(*from_bytes(Path(path).read_bytes()))
    except OSError as error:
        raise StateError(f"the state {path} cannot be read: {error.strerror}") from None
    except StateError as error:
        raise StateError(f"the state {path} cannot be used: {error}") from None


def _state(tensors: "dict[str, NDArray[Any]]", metadata: dict[str, str]) -> PortableState:
    if metadata.get("format") != FORMAT:
        raise StateError("it is a safetensors file of another program")
    try:
        major, minor = map(int, metadata["spec"].split("."))
        record = dict(json.loads(metadata["state"]))
    except (KeyError, ValueError, TypeError):
        raise StateError("its header is damaged") from None
    if major != VERSION[0] or minor > VERSION[1]:
        raise StateError(
            f"it follows version {major}.{minor} of the specification, and this lion-ports reads "
            f"{VERSION[0]}.0 to {VERSION[0]}.{VERSION[1]}; upgrade lion-ports"
        )
    by_kind: dict[str, Any] = {kind: {} for kind in _TENSORS}
    for path, array in tensors.items():
        kind, _, name = path.partition("/")
        if kind not in by_kind:
            raise StateError(f"its tensor {path!r} is none of {', '.join(_TENSORS)}")
        by_kind[kind][name] = array
    if unknown := record.keys() - {f.name for f in fields(PortableState)}:
        raise StateError(f"its header has the unknown entry {sorted(unknown)[0]!r}")
    return PortableState(**by_kind, **record)
