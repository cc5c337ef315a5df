"""The lines at the head of a run: every derived number."""

import importlib.metadata
import platform

import lion_ports
from lion_ports.trainers.config import TrainConfig
from lion_ports.trainers.data import Text
from lion_ports.trainers.engine import BACKENDS
from lion_ports.trainers.slots import DTYPES, state_bytes


def describe(config: TrainConfig, text: Text, init_sha256: str, device: str) -> list[str]:
    """The lines at the head of a run."""
    tokens = config.batch_size * config.sequence
    epochs = config.steps * tokens / len(text.train)
    count = config.architecture().parameter_count()
    skipped = f", {text.skipped} binary files left out" if text.skipped else ""
    files = f"{text.files} file" if text.files == 1 else f"{text.files} files"
    found = versions(config.backend)
    return [
        f"backend    {BACKENDS[config.backend].title} {found[config.backend]} on {device}, "
        f"lion-ports {lion_ports.__version__}, seed {config.seed}",
        f"model      {config.layers} layers, width {config.width}, {config.heads} heads, hidden "
        f"{config.hidden}, sequence {config.sequence}: {count:,} parameters, {config.dtype}",
        f"weights    sha256 {init_sha256}",
        f"data       {text.name}: {files}{skipped}, {len(text.train):,} bytes to "
        f"train, {len(text.validation):,} to validate",
        f"           sha256 {text.sha256}",
        f"steps      {config.steps} of {config.batch_size} x {config.sequence} = {tokens:,} "
        f"tokens: {config.steps * tokens:,} tokens, {epochs:.2f} epochs",
        f"optimizer  {config.optimizer}: lr {config.lr:g}, betas {config.betas[0]:g} "
        f"{config.betas[1]:g}, weight decay {config.weight_decay:g}; warm-up {config.warmup}, "
        f"then {config.schedule}; clip {config.clip:g}",
        *_storage(config),
    ]


def _storage(config: TrainConfig) -> list[str]:
    """What is kept in other ways than ``dtype`` alone says, and what that takes."""
    settings, count = config.engine_settings(), config.architecture().parameter_count()
    if not settings.momentum_dtype and not settings.correction_bits:
        return []
    held = DTYPES[config.dtype].itemsize + state_bytes(settings) / count
    correction = f", {config.correction_bits} correction bits" if config.correction_bits else ""
    return [
        f"storage    {config.dtype} weights{correction}, {settings.momentum_dtype or config.dtype} "
        f"momentum: {held:.2f} bytes a parameter"
    ]


def versions(backend: str) -> dict[str, str]:
    """Of Python, this package, NumPy and the framework."""
    packages = ("numpy", *BACKENDS[backend].packages)
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), "lion-ports": lion_ports.__version__} | found
