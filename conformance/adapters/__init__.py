"""How the suite drives the optimizers of each framework, imported when it is asked for."""

import importlib
from typing import Any

from lion_ports.conformance.adapters.target import BUILT_IN as BUILT_IN
from lion_ports.conformance.adapters.target import Adapter as Adapter
from lion_ports.conformance.adapters.target import Target as Target
from lion_ports.conformance.adapters.target import TargetError as TargetError
from lion_ports.conformance.adapters.target import find as find
from lion_ports.errors import install_command

_MODULES = {
    "numpy": "python",
    "python": "python",
    "torch": "torch",
    "optax": "jax",
    "jax": "jax",
    "mlx": "mlx",
    "keras": "keras",
    "exec": "exec",
}


def adapt(target: Target, device: str = "cpu") -> Adapter:
    """The adapter that makes fresh implementations of a target.

    Raises:
        TargetError: the framework or the target cannot be imported, or the device is not there.
    """
    name = f"lion_ports.conformance.adapters.{_MODULES[target.kind]}"
    try:
        module: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise TargetError(
            f"--impl {target.spec} needs the package {error.name!r}, which is not installed: "
            f"{install_command(target.extra)}"
        ) from error
    adapter: Adapter = module.adapt(target, device)
    return adapter
