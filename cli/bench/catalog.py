"""Who is timed: our optimizers in each of their ways, and other people's. Imports no framework."""

import fnmatch
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import Any

from lion_ports.errors import ConfigError

BACKENDS = ("torch", "jax", "mlx")

BASELINES = {"torch": "lion-pytorch", "jax": "optax.lion", "mlx": "mlx Lion"}
"""The Lion that people use there now: the ratio in the tables is to it."""

_DECAY = {"weight_decay": 0.1}


@dataclass(frozen=True)
class Contender:
    """An optimizer, and how it is run.

    Args:
        backend: the framework, whose contenders share a process.
        name: in tables, and for ``--only``.
        package: the distribution that it comes with.
        target: ``"module:attribute"``, called with the parameters (torch) or the learning rate.
        way: how it is run: torch ``"eager"``, ``"compile"``, ``"keras"``; jax ``"step"`` (one
            function from old to new parameters), ``"optax"``, ``"keras"``, each jitted with
            everything donated; mlx ``"eager"``, ``"compile"``.
        kwargs: of the call.
        needs: modules that have to be installed; by default the target's.
        tensors: the most that it is given: compilers take minutes over thousands.
    """

    backend: str
    name: str
    package: str
    target: str
    way: str
    kwargs: Mapping[str, Any] = field(default_factory=lambda: dict(_DECAY))
    needs: tuple[str, ...] = ()
    tensors: int = 100_000

    @property
    def ours(self) -> bool:
        """Whether it is one of lion_ports'."""
        return self.package == "lion-ports"

    def entry(self, status: str, message: str | None = None) -> dict[str, Any]:
        """What stands of it in the results in any case."""
        return {
            "name": self.name,
            "package": self.package,
            "ours": self.ours,
            "status": status,
            "message": message,
        }

    def installed(self) -> bool:
        """Whether what it needs is there; imports none of it."""
        modules = self.needs or (self.target.partition(":")[0].partition(".")[0],)
        return all(importlib.util.find_spec(module) is not None for module in modules)


def _torch(name: str, package: str, target: str, way: str = "eager", **kwargs: Any) -> Contender:
    return Contender("torch", name, package, target, way, _DECAY | kwargs)


def _jax(name: str, package: str, target: str, way: str, **kwargs: Any) -> Contender:
    return Contender("jax", name, package, target, way, _DECAY | kwargs, tensors=1_000)


def _mlx(name: str, package: str, target: str, way: str = "eager", **kwargs: Any) -> Contender:
    needs, most = ("mlx",), 1_000 if way == "compile" else 100_000
    return Contender("mlx", name, package, target, way, _DECAY | kwargs, needs, most)


_LION = "lion_ports.torch:Lion"

CONTENDERS = (
    replace(_torch("lion-ports", "lion-ports", _LION), needs=("torch",)),
    replace(
        _torch("lion-ports, torch.compile", "lion-ports", _LION, "compile"),
        needs=("torch",),
        tensors=100,
    ),
    _torch("lion-pytorch", "lion-pytorch", "lion_pytorch:Lion"),
    _torch("lion-pytorch foreach", "lion-pytorch", "lion_pytorch.foreach:Lion"),
    _torch("torch-optimi", "torch-optimi", "optimi:Lion"),
    _torch("pytorch-optimizer", "pytorch_optimizer", "pytorch_optimizer:Lion"),
    _torch("bitsandbytes 32-bit", "bitsandbytes", "bitsandbytes.optim:Lion32bit"),
    _torch("adv-optm", "adv_optm", "adv_optm:Lion_adv", stochastic_rounding=False),
    replace(_torch("timm", "timm", "timm.optim:Lion"), needs=("timm", "torchvision")),
    _torch("flashoptim", "flashoptim", "flashoptim:FlashLion"),
    _torch("DeepSpeed CPU", "deepspeed", "deepspeed.ops.lion:DeepSpeedCPULion"),
    _torch("keras on torch", "keras", "keras.optimizers:Lion", "keras"),
    _torch("torch AdamW fused", "torch", "torch.optim:AdamW", fused=True),
    _torch("torch AdamW foreach", "torch", "torch.optim:AdamW", foreach=True),
    _torch("torch SGD momentum fused", "torch", "torch.optim:SGD", momentum=0.9, fused=True),
    replace(
        _jax("lion-ports fused_lion", "lion-ports", "lion_ports.jax:fused_lion", "step"),
        needs=("jax", "optax"),
    ),
    replace(
        _jax("lion-ports lion", "lion-ports", "lion_ports.jax:lion", "optax"),
        needs=("jax", "optax"),
    ),
    _jax("optax.lion", "optax", "optax:lion", "optax"),
    _jax("optax.adamw", "optax", "optax:adamw", "optax"),
    replace(_jax("optax.sgd momentum", "optax", "optax:sgd", "optax"), kwargs={"momentum": 0.9}),
    _jax("keras on jax", "keras", "keras.optimizers:Lion", "keras"),
    _mlx("lion-ports", "lion-ports", "lion_ports.mlx:Lion"),
    _mlx("lion-ports, mx.compile", "lion-ports", "lion_ports.mlx:Lion", "compile"),
    _mlx("mlx Lion", "mlx", "mlx.optimizers:Lion"),
    _mlx("mlx Lion, mx.compile", "mlx", "mlx.optimizers:Lion", "compile"),
    _mlx("mlx AdamW", "mlx", "mlx.optimizers:AdamW"),
    _mlx("mlx AdamW, mx.compile", "mlx", "mlx.optimizers:AdamW", "compile"),
)
"""Other people's Lions in 8 bits are left out: they are lossy on purpose, and move other bytes."""

_PLAIN = {"torch": "eager", "optax": "optax", "mlx": "eager"}


def given(text: str) -> Contender:
    """A user's own optimizer: ``torch:MODULE:CLASS``, ``optax:MODULE:FUNCTION``, ``mlx:...``.

    Raises:
        ConfigError: it is none of the three.
    """
    kind, _, target = text.partition(":")
    module, _, attribute = target.partition(":")
    if kind not in _PLAIN or not module or not attribute.isidentifier():
        raise ConfigError(
            f"--peer {quote(text)}: write torch:MODULE:CLASS, optax:MODULE:FUNCTION or "
            "mlx:MODULE:CLASS"
        )
    backend = "jax" if kind == "optax" else kind
    return Contender(backend, target, "", target, _PLAIN[kind], {}, needs=(backend,))


def chosen(
    backends: Iterable[str], *, only: tuple[str, ...], peers: bool, more: tuple[str, ...]
) -> list[Contender]:
    """The contenders of these backends.

    Args:
        backends: of ``BACKENDS``.
        only: patterns of names; what ``--peer`` adds is always in. Empty: all.
        peers: with other people's.
        more: as :func:`given` takes them.

    Raises:
        ConfigError: a pattern matches none, or nothing is left.
    """
    added = [given(text) for text in more]
    known = [c for c in CONTENDERS if c.backend in backends and (peers or c.ours)]
    if wrong := [text for text, c in zip(more, added, strict=True) if c.backend not in backends]:
        raise ConfigError(
            f"--peer {quote(wrong[0])}: its backend is not among {', '.join(backends)}"
        )
    listed = list(dict.fromkeys(c.name for c in known + added))
    if idle := [p for p in only if not any(fnmatch.fnmatchcase(name, p) for name in listed)]:
        names = ", ".join(f"'{name}'" for name in listed)
        raise ConfigError(f"--only {quote(idle[0])}: matches none of {names}")
    if only:
        known = [c for c in known if any(fnmatch.fnmatchcase(c.name, p) for p in only)]
    return known + added


TRAINER, HAND_WRITTEN, ALONE = "lion-train", "hand-written loop", "optimizer alone"


def loops(backend: str) -> list[Contender]:
    """The trainer, a loop by hand with either Lion, and the optimizer's step alone."""
    ways = {"torch": "lion-ports", "jax": "lion-ports fused_lion", "mlx": "lion-ports, mx.compile"}
    known = {c.name: c for c in CONTENDERS if c.backend == backend}
    ours, theirs = known[ways[backend]], known[BASELINES[backend]]
    return [
        replace(ours, name=TRAINER, way=TRAINER),
        replace(theirs, name=f"{HAND_WRITTEN}, {theirs.name}", way=HAND_WRITTEN),
        replace(ours, name=f"{HAND_WRITTEN}, lion-ports", way=HAND_WRITTEN),
        replace(ours, name=ALONE),
    ]
