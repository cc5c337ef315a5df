"""The paper's hyperparameters as data, and the rule to derive Lion's from AdamW's."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from lion_ports.errors import ConfigError


class Settings(NamedTuple):
    """One optimizer's row; ``weight_decay`` is decoupled, and None where the table has none."""

    lr: float
    weight_decay: float | None
    betas: tuple[float, float]


@dataclass(frozen=True)
class Preset:
    """One experiment of Table 12: Lion's settings beside those of the paper's baseline.

    ``baseline_name`` is ``"AdamW"`` or ``"Adafactor"``; its betas are in ``baseline.betas``.
    """

    model: str
    task: str
    lion: Settings
    baseline: Settings
    baseline_name: str = "AdamW"


def _vision(lr: float, weight_decay: float | None) -> Settings:
    return Settings(lr, weight_decay, (0.9, 0.99))


def _language(lr: float, weight_decay: float | None) -> Settings:
    return Settings(lr, weight_decay, (0.95, 0.98))


def _adamw(lr: float, weight_decay: float | None, b2: float = 0.999) -> Settings:
    return Settings(lr, weight_decay, (0.9, b2))


_SCRATCH = "ImageNet from scratch"
_AUGMENTED = "ImageNet from scratch, RandAug and Mixup"
_CONTRASTIVE = "vision-language contrastive learning"
_LM = "language modeling"

PRESETS: dict[str, Preset] = {
    "resnet-50": Preset("ResNet-50", _SCRATCH, _vision(3e-4, 1.0), _adamw(3e-3, 0.1)),
    "mixer-s16": Preset("Mixer-S/16", _SCRATCH, _vision(3e-3, 1.0), _adamw(1e-2, 0.3)),
    "mixer-b16": Preset("Mixer-B/16", _SCRATCH, _vision(3e-3, 3.0), _adamw(1e-2, 0.3)),
    "vit-s16": Preset("ViT-S/16", _SCRATCH, _vision(1e-3, 1.0), _adamw(1e-2, 0.1)),
    "vit-s16-aug": Preset("ViT-S/16", _AUGMENTED, _vision(3e-4, 1.0), _adamw(3e-3, 0.1)),
    "vit-b16": Preset("ViT-B/16", _SCRATCH, _vision(1e-3, 1.0), _adamw(3e-3, 0.3)),
    "vit-b16-aug": Preset("ViT-B/16", _AUGMENTED, _vision(1e-4, 10.0), _adamw(1e-3, 1.0)),
    "coatnet-1": Preset("CoAtNet-1", _AUGMENTED, _vision(2e-4, 1.0), _adamw(1e-3, 0.05)),
    "coatnet-3": Preset("CoAtNet-3", _AUGMENTED, _vision(2e-4, 1.0), _adamw(1e-3, 0.05)),
    "vit-b16-21k": Preset("ViT-B/16", "ImageNet-21K", _vision(1e-4, 0.3), _adamw(1e-3, 0.1)),
    "vit-l16-21k": Preset("ViT-L/16", "ImageNet-21K", _vision(1e-4, 1.0), _adamw(1e-3, 0.3)),
    "vit-b16-jft": Preset("ViT-B/16", "JFT", _vision(1e-4, 0.3), _adamw(6e-4, 0.1)),
    "vit-l16-jft": Preset("ViT-L/16", "JFT", _vision(1e-4, 0.3), _adamw(3e-4, 0.1)),
    "vit-h14-jft": Preset("ViT-H/14", "JFT", _vision(3e-5, 0.3), _adamw(3e-4, 0.1)),
    "vit-g14-jft": Preset(
        "ViT-g/14 and ViT-G/14", "JFT", _vision(3e-5, 0.3), _adamw(8e-4, 0.03), "Adafactor"
    ),
    "lit-b": Preset("LiT-B/*-B", _CONTRASTIVE, _vision(3e-4, None), _adamw(1e-3, None)),
    "lit-g14": Preset("LiT-g/14-L", _CONTRASTIVE, _vision(2e-4, 0.5), _adamw(1e-3, 0.1)),
    "basic-l": Preset("BASIC-L", _CONTRASTIVE, _vision(2e-4, 0.1), _adamw(5e-4, 0.01), "Adafactor"),
    "imagen": Preset(
        "Imagen base and super-resolution", "diffusion", _vision(1e-4, None), _adamw(1e-3, None)
    ),
    "diffusion-imagenet": Preset(
        "image generation on ImageNet", "diffusion", _vision(3e-5, 0.1), _adamw(3e-4, 0.01)
    ),
    "lm-small": Preset(
        "Small, Medium (PG-19, C4) and Large",
        _LM,
        _language(3e-4, None),
        _adamw(3e-3, None, 0.99),
    ),
    "lm-medium-wiki40b": Preset(
        "Medium (Wiki-40B)", _LM, _language(3e-4, 0.01), _adamw(3e-3, 0.001, 0.99)
    ),
    "lm-2b": Preset(
        "1.1B and 2.1B", _LM, _language(2e-4, 0.005), _adamw(2e-3, 0.0005, 0.99), "Adafactor"
    ),
    "lm-7b": Preset("7.5B", _LM, _language(1e-4, 0.01), _adamw(1e-3, 0.001, 0.99), "Adafactor"),
}
"""Table 12 of arXiv 2302.06675 ("Hyperparameters for all the experiments"), row by row."""


def from_adamw(lr: float, weight_decay: float, ratio: float = 10.0) -> dict[str, float]:
    """Lion's learning rate and weight decay from AdamW's (section 5 of the paper).

    Lion's update has a larger norm, so its learning rate is 3 to 10 times smaller; the decay is
    larger by the same factor, which keeps the strength ``lr * weight_decay``.

    Args:
        lr: AdamW's learning rate, > 0.
        weight_decay: AdamW's weight decay, >= 0.
        ratio: how many times smaller, usually 3 to 10.

    Returns:
        ``{"lr": ..., "weight_decay": ...}``, ready for ``LionConfig(**...)``.

    Raises:
        ConfigError: if ``lr`` or ``ratio`` is not above 0, or ``weight_decay`` is below 0, or one
            of them is not finite.

    >>> from_adamw(lr=2.0**-10, weight_decay=0.125, ratio=8)
    {'lr': 0.0001220703125, 'weight_decay': 1.0}
    """
    if not (0 < lr < math.inf and 0 < ratio < math.inf and 0 <= weight_decay < math.inf):
        raise ConfigError(
            f"from_adamw needs finite lr > 0, weight_decay >= 0 and ratio > 0, and was given "
            f"lr={lr!r}, weight_decay={weight_decay!r}, ratio={ratio!r}"
        )
    return {"lr": lr / ratio, "weight_decay": weight_decay * ratio}
