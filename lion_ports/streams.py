"""A recorded stream of gradients: what the optimizer of a real run was given, as one file.

``lion-train --record-gradients N`` writes such files, and ``lion-conformance replay`` puts them to
any implementation of Lion.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lion_ports.config import LionConfig
from lion_ports.errors import ConfigError, LionError, StateError
from lion_ports.tensors import from_bytes, to_bytes

Array = NDArray[Any]

FORMAT = "lion-ports-stream"
VERSION = "1"


class StreamError(LionError, ValueError):
    """A recorded stream that is missing, damaged, foreign, or does not fit together."""


@dataclass(frozen=True)
class GradientStream:
    """The first steps of a run, from zero momentum. bfloat16 arrays are ``ml_dtypes.bfloat16``.

    Args:
        parameters: before the first step, by name; any shapes and floating or complex dtypes.
        gradients: by name, for each step: after clipping, just as the optimizer saw them.
        rates: the learning rate of each step.
        betas: as in :class:`lion_ports.LionConfig`.
        weight_decay: as there; coupled.
        undecayed: names of the parameters that do not decay.
        source: where the stream comes from, in words: backend, device, versions, data.

    Raises:
        StreamError: the parts do not fit together, or a setting is out of its range.

    >>> import numpy as np
    >>> x, g = np.ones(2, np.float32), np.zeros(2, np.float32)
    >>> len(GradientStream({"w": x}, [{"w": g}], [0.1], (0.9, 0.99), 0.5))
    1
    >>> GradientStream({"w": x}, [{"v": g}], [0.1], (0.9, 0.99), 0.5)
    Traceback (most recent call last):
    ...
    lion_ports.streams.StreamError: step 1 has no gradient of 'w' in its shape (2,)
    """

    parameters: Mapping[str, Array]
    gradients: Sequence[Mapping[str, Array]]
    rates: Sequence[float]
    betas: tuple[float, float]
    weight_decay: float
    undecayed: Sequence[str] = ()
    source: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.parameters or not self.gradients:
            raise StreamError("it has no parameters or no steps")
        if len(self.rates) != len(self.gradients):
            raise StreamError(f"{len(self.gradients)} steps have {len(self.rates)} learning rates")
        for number, grads in enumerate(self.gradients, 1):
            for name, x in self.parameters.items():
                if name not in grads or grads[name].shape != x.shape:
                    raise StreamError(
                        f"step {number} has no gradient of {name!r} in its shape {x.shape}"
                    )
            if unknown := sorted(grads.keys() - self.parameters.keys()):
                raise StreamError(f"step {number} has a gradient of {unknown[0]!r}, no parameter")
        if unknown := sorted(set(self.undecayed) - self.parameters.keys()):
            raise StreamError(f"{unknown[0]!r} is to be left undecayed, and is no parameter")
        try:
            for lr in self.rates:
                LionConfig(lr=lr, betas=self.betas, weight_decay=self.weight_decay)
        except ConfigError as error:
            raise StreamError(str(error)) from None

    def __len__(self) -> int:
        return len(self.gradients)


def save_stream(path: str | os.PathLike[str], stream: GradientStream) -> None:
    """Write a stream as one safetensors file, whole or not at all.

    >>> import numpy as np
    >>> x, g = np.ones(2, np.float32), np.zeros(2, np.float32)
    >>> path = getfixture("tmp_path") / "gradients.safetensors"
    >>> save_stream(path, GradientStream({"w": x}, [{"w": g}], [0.1], (0.9, 0.99), 0.5))
    >>> load_stream(path).rates
    [0.1]
    """
    tensors = {f"parameters/{name}": x for name, x in stream.parameters.items()}
    for number, grads in enumerate(stream.gradients, 1):
        tensors |= {f"gradients/{number}/{name}": grads[name] for name in stream.parameters}
    rest = {
        "rates": [float(lr) for lr in stream.rates],
        "betas": list(stream.betas),
        "weight_decay": stream.weight_decay,
        "undecayed": list(stream.undecayed),
        "source": dict(stream.source),
    }
    metadata = {"format": FORMAT, "version": VERSION, "stream": json.dumps(rest)}
    beside = Path(f"{path}.part")
    beside.write_bytes(to_bytes(tensors, metadata))
    beside.replace(path)


def load_stream(path: str | os.PathLike[str]) -> GradientStream:
    """Read a stream that :func:`save_stream` wrote.

    Raises:
        StreamError: there is no such file, or it is damaged, foreign, or of another version; the
            message says which.
    """
    try:
        return _stream(*from_bytes(Path(path).read_bytes()))
    except OSError as error:
        raise StreamError(f"the stream {path} cannot be read: {error.strerror}") from None
    except (StateError, StreamError) as error:
        raise StreamError(f"the stream {path} cannot be used: {error}") from None


def _stream(tensors: dict[str, Array], metadata: dict[str, str]) -> GradientStream:
    if metadata.get("format") != FORMAT:
        raise StreamError("it is no stream of gradients, but a file of another kind")
    if metadata.get("version") != VERSION:
        raise StreamError(f"it has version {metadata.get('version')}; version {VERSION} is known")
    parameters: dict[str, Array] = {}
    steps: dict[int, dict[str, Array]] = {}
    try:
        for path, array in tensors.items():
            kind, _, name = path.partition("/")
            if kind == "parameters":
                parameters[name] = array
            else:
                number, _, name = name.partition("/")
                steps.setdefault(int(number), {})[name] = array
        rest = json.loads(metadata["stream"])
        gradients = [steps[number] for number in range(1, len(steps) + 1)]
        source = {str(key): str(value) for key, value in rest["source"].items()}
        settings = rest | {"betas": tuple(rest["betas"]), "source": source}
        return GradientStream(parameters, gradients, **settings)
    except StreamError:
        raise
    except (AttributeError, KeyError, ValueError, TypeError):
        raise StreamError("its header is damaged") from None
