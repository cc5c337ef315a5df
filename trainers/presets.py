"""The presets: sizes, and the settings of each optimizer at that size."""

from typing import Any

DEFAULT_PRESET = "tiny"
OPTIMIZERS = ("lion", "signum", "adamw")

_LION_BETAS = (0.95, 0.98)  # what the paper uses for language models (section 4.4)
_ADAMW_BETAS = (0.9, 0.95)


def _preset(
    shape: dict[str, int],
    steps: int,
    warmup: int,
    *,
    lion: tuple[float, float],
    adamw: tuple[float, float],
) -> dict[str, Any]:
    """``lion`` and ``adamw`` are (lr, weight decay) pairs; Signum takes Lion's."""
    return {
        "shape": shape | {"steps": steps, "warmup": warmup},
        "lion": {"lr": lion[0], "weight_decay": lion[1], "betas": _LION_BETAS},
        "signum": {"lr": lion[0], "weight_decay": lion[1], "betas": (_LION_BETAS[0],) * 2},
        "adamw": {"lr": adamw[0], "weight_decay": adamw[1], "betas": _ADAMW_BETAS},
    }


PRESETS: dict[str, dict[str, Any]] = {
    # 0.36 M parameters: below 2.2 nats a byte within a minute or two on two CPU cores.
    "tiny": _preset(
        {"layers": 3, "width": 96, "heads": 3, "hidden": 256, "sequence": 64, "batch_size": 32},
        steps=500,
        warmup=20,
        lion=(1e-3, 1.0),
        adamw=(4e-3, 0.1),
    ),
    # 4.8 M parameters: an hour on a CPU, minutes on a GPU.
    "small": _preset(
        {"layers": 6, "width": 256, "heads": 4, "hidden": 688, "sequence": 256, "batch_size": 32},
        steps=2000,
        warmup=100,
        lion=(4e-4, 1.0),
        adamw=(2e-3, 0.1),
    ),
    # 25 M parameters: for a GPU.
    "medium": _preset(
        {"layers": 8, "width": 512, "heads": 8, "hidden": 1376, "sequence": 512, "batch_size": 32},
        steps=5000,
        warmup=200,
        lion=(3e-4, 1.0),
        adamw=(1e-3, 0.1),
    ),
    # The shape of GPT-2's smallest model, over bytes: 85 M parameters.
    "gpt2": _preset(
        {
            "layers": 12,
            "width": 768,
            "heads": 12,
            "hidden": 2048,
            "sequence": 1024,
            "batch_size": 16,
        },
        steps=20_000,
        warmup=500,
        lion=(1e-4, 1.0),
        adamw=(6e-4, 0.1),
    ),
}


def preset_values(name: str, optimizer: str) -> dict[str, Any]:
    """The settings that ``--preset name`` brings with this optimizer."""
    preset = PRESETS[name]
    return {**preset["shape"], **preset[optimizer]}
