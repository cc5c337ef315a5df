"""Other people's Lions: where to find them, and how to ask for what the suite looks at."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lion_ports.conformance import arguments


@dataclass(frozen=True)
class Peer:
    """An implementation in a package that somebody else publishes.

    ``kwargs`` choose the plainest Lion that it has, ``rename`` are its words for our settings, and
    ``environment`` is what it reads when it is imported.
    """

    package: str
    impl: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words of ``lion-conformance run`` beside ``--impl`` and its name."""
        return arguments.words(self.kwargs, self.rename)

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment as words of a shell."""
        return tuple(f"{name}={value}" for name, value in self.environment.items())

    @property
    def command(self) -> str:
        """The command that puts all cases to it."""
        words = self.variables
        return shlex.join([*words, "lion-conformance", "run", "--impl", self.impl, *self.arguments])


PEERS = (
    Peer("lion-pytorch", "torch:lion_pytorch:Lion"),
    Peer("lion-pytorch", "torch:lion_pytorch.foreach:Lion"),
    Peer(
        "lion-pytorch",
        "torch:lion_pytorch.cautious_lion:Lion",
        {"cautious_factor": 1.0},  # which leaves out nothing
        {"cautious_decay": "cautious_wd"},
    ),
    Peer("timm", "torch:timm.optim:Lion", rename={"cautious": "caution"}),
    Peer("torch-optimi", "torch:optimi:Lion"),
    Peer(
        "pytorch-optimizer",
        "torch:pytorch_optimizer:Lion",
        rename={"cautious": "cautious"},  # among its **kwargs, all of which it accepts
    ),
    Peer("bitsandbytes", "torch:bitsandbytes.optim:Lion32bit"),
    Peer(
        "adv-optm",
        "torch:adv_optm:Lion_adv",
        {"stochastic_rounding": False},
        {"cautious_decay": "cautious_wd"},
    ),
    Peer("flashoptim", "torch:flashoptim:FlashLion"),
    Peer("deepspeed", "torch:deepspeed.ops.lion:DeepSpeedCPULion"),
    Peer("optax", "optax:optax:lion"),
    Peer("mlx", "mlx:mlx.optimizers:Lion"),
    Peer("keras", "keras:keras.optimizers:Lion", environment={"KERAS_BACKEND": "torch"}),
    Peer("keras", "keras:keras.optimizers:Lion", environment={"KERAS_BACKEND": "jax"}),
)
"""In the order of the matrix. 8-bit states are left out: they are lossy on purpose."""
