"""What ``--impl`` names: a backend of lion_ports, or something importable from anywhere."""

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import metadata
from typing import Any

from lion_ports import __version__
from lion_ports.config import LionConfig
from lion_ports.conformance.adapters.offering import CORE, OPTIONS, offers
from lion_ports.conformance.protocol import UnsupportedError
from lion_ports.errors import LionError

BUILT_IN: dict[str, tuple[str, str, str, str]] = {
    "numpy": ("numpy", "", "", "the reference"),
    "torch": ("torch", "lion_ports.torch", "Lion", "PyTorch, eager"),
    "torch+compile": ("torch", "lion_ports.torch", "Lion", "PyTorch, torch.compile(opt.step)"),
    "jax": ("jax", "lion_ports.jax", "fused_lion", "JAX, fused step, jit with donation"),
    "jax+eager": ("jax", "lion_ports.jax", "fused_lion", "JAX, fused step, not compiled"),
    "jax+optax": ("optax", "lion_ports.jax", "lion", "JAX, optax transform, jit"),
    "mlx": ("mlx", "lion_ports.mlx", "Lion", "MLX, eager"),
    "mlx+compile": ("mlx", "lion_ports.mlx", "Lion", "MLX, mx.compile"),
}
"""Name -> (kind, module, attribute, description)."""

_KINDS = ("torch", "optax", "mlx", "keras", "python")


class TargetError(LionError):
    """``--impl`` names something that is not there."""


@dataclass(frozen=True)
class Target:
    """One thing to test; ``attribute`` of ``module`` makes it, with ``kwargs`` filled in.

    For kind "exec" the module is a command line, and there is no attribute.
    """

    spec: str
    kind: str
    module: str
    attribute: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    """Longest time for a program to shake hands."""

    @property
    def compiled(self) -> bool:
        """Whether the framework's compiler is to be used."""
        return self.spec.endswith("+compile")

    @property
    def ours(self) -> bool:
        """Whether it is one of lion_ports' own."""
        return self.module.startswith("lion_ports")

    @property
    def extra(self) -> str:
        """The extra of lion-ports that brings its framework."""
        return {"optax": "jax", "keras": "peers"}.get(self.kind, self.kind)

    @property
    def version(self) -> str:
        """The version of the distribution that it comes from; "local" if there is none."""
        package = self.module.partition(".")[0]
        if package in ("", "lion_ports"):
            return __version__
        for name in metadata.packages_distributions().get(package, []):
            return metadata.version(name)
        return "local"

    def load(self) -> Callable[..., Any]:
        """Import it; the current directory is searched last.

        Raises:
            TargetError: there is no such module or attribute.
        """
        if "" not in sys.path:
            sys.path.append("")
        try:
            module = importlib.import_module(self.module)
        except ImportError as error:
            raise TargetError(
                f"--impl {self.spec}: the module {self.module!r} cannot be imported from here "
                f"({error}); install it, or run from the folder that holds it"
            ) from error
        made: Callable[..., Any] | None = getattr(module, self.attribute, None)
        if not callable(made):
            raise TargetError(
                f"--impl {self.spec}: the module {self.module!r} has no class or function "
                f"{self.attribute!r}"
            )
        return made

    def make(self, *args: Any, names: Mapping[str, str] | None = None, **settings: Any) -> Any:
        """Construct it with these settings under its own names.

        Args:
            args: what comes before the settings.
            names: what its framework calls a setting; ``--rename`` comes before that.
            settings: by the specification's names. An option that ``--rename`` names is offered:
                whoever wrote that knows it.

        Raises:
            UnsupportedError: it does not offer one of the options.
        """
        made = self.load()
        if not (self.ours or self.kind == "optax"):
            self._refuse_schedules(settings)
        eight_bits = (
            settings.get("momentum_dtype") == "int8" and "momentum_dtype" not in self.rename
        )
        if eight_bits and not self.ours:  # elsewhere a dtype to cast to, and no code (L-031)
            raise UnsupportedError('option momentum_dtype="int8"')
        names = {**(names or {}), **self.rename}
        options = {names.get(name, name): name for name in settings if name in OPTIONS}
        given = {**self.kwargs, **{names.get(name, name): v for name, v in settings.items()}}
        core = {**self.kwargs, **{names.get(n, n): v for n, v in settings.items() if n in CORE}}
        for theirs, name in options.items():
            if name not in self.rename and not offers(made, args, core, theirs, settings[name]):
                raise UnsupportedError(f"option {name}")
        try:
            return made(*args, **given)
        except (TypeError, ValueError) as error:
            # One that passes its **arguments on finds out late.
            unknown = [name for theirs, name in options.items() if f"'{theirs}'" in str(error)]
            late = "unexpected keyword" in str(error) or "not recognized" in str(error)
            if late and unknown:
                raise UnsupportedError(f"option {unknown[0]}") from error
            raise

    def _refuse_schedules(self, settings: Mapping[str, Any]) -> None:
        """torch has schedulers beside the optimizer, and MLX none of the weight decay."""
        if callable(settings.get("weight_decay")):
            raise UnsupportedError("a schedule of the weight decay")
        if callable(settings.get("lr")) and self.kind == "torch":
            raise UnsupportedError("a schedule of the learning rate")


class Adapter:
    """A factory of fresh implementations, and what is known of them all."""

    def __init__(
        self,
        target: Target,
        make: Callable[[], Any],
        *,
        device: str,
        flushes: bool = False,
        version: str = "",
    ) -> None:
        self.target = target
        self.make = make
        self.device = device
        self.flushes = flushes
        self.version = version or target.version


def find(spec: str, kwargs: Mapping[str, Any], rename: Mapping[str, str]) -> Target:
    """The target that ``--impl spec`` names.

    Raises:
        TargetError: it is neither a built-in name, nor ``kind:module:attribute``, nor
            ``exec:command``.
    """
    if spec in BUILT_IN:
        kind, module, attribute, _ = BUILT_IN[spec]
        return Target(spec, kind, module, attribute, kwargs, rename)
    kind, _, rest = spec.partition(":")
    if kind == "exec" and rest.strip():  # --exec COMMAND
        return Target(spec, kind, rest, "", kwargs, rename)
    if kind == "exec":
        raise TargetError(
            "--exec (or --impl exec:) names no program; name one, as --exec ./my_lion"
        )
    module, _, attribute = rest.partition(":")
    if kind not in _KINDS or not module or not attribute:
        raise TargetError(
            f"--impl {spec!r} is neither one of {', '.join(BUILT_IN)}, nor KIND:MODULE:NAME with "
            f"KIND one of {', '.join(_KINDS)}, nor exec:COMMAND"
        )
    return Target(spec, kind, module, attribute, kwargs, rename)


def settings_of(config: LionConfig, *, defaults: bool) -> dict[str, Any]:
    """The settings to construct with; under ``defaults`` the learning rate alone."""
    settings: dict[str, Any] = {"lr": config.lr}
    if not defaults:
        settings |= {"betas": config.betas, "weight_decay": config.weight_decay}
    for field_ in fields(LionConfig):
        value = getattr(config, field_.name)
        if field_.name not in CORE and value != field_.default:
            settings[field_.name] = value
    return settings
