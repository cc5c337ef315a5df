"""The settings of a run as one validated model."""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from lion_ports.config import LionConfig
from lion_ports.errors import ConfigError
from lion_ports.trainers.architecture import Architecture
from lion_ports.trainers.engine import EngineSettings
from lion_ports.trainers.errors import DataError
from lion_ports.trainers.presets import DEFAULT_PRESET, PRESETS

# What a setting has to be, by what pydantic finds that it is not.
_KINDS = {
    "number": "a number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
}
FLOAT32_MAX = 3.4028234663852886e38
LOWEST_TEMPERATURE = 1e-6


def _whole(value: Any) -> Any:
    """A number that was given as text, which a Literal takes for no number."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("number", "Input should be a number")
    return value


Integer = Annotated[int, BeforeValidator(_no_boolean)]
Real = Annotated[float, BeforeValidator(_no_boolean)]
Count = Annotated[Integer, Field(ge=1)]
Natural = Annotated[Integer, Field(ge=0)]
Share = Annotated[Real, Field(ge=0, le=1)]


class TrainConfig(BaseModel):
    """Everything that decides what a run does. Fields without a default come from the preset."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # What trains where.
    backend: Literal["auto", "mlx", "torch", "jax"] = "auto"
    device: Literal["auto", "cpu", "gpu", "mps", "tpu"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    compile: bool = True
    preset: str = DEFAULT_PRESET
    data: str = "stdlib"
    held_out: Annotated[Real, Field(gt=0, lt=1)] = 0.1
    seed: Annotated[Integer, Field(ge=0, lt=2**63)] = 0

    # The model.
    layers: Count
    width: Count
    heads: Count
    hidden: Count
    sequence: Annotated[Integer, Field(ge=2)]

    # The optimizer and its schedule.
    optimizer: Literal["lion", "signum", "adamw"] = "lion"
    lr: Real
    betas: tuple[Real, Real]
    weight_decay: Real
    momentum_dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    correction_bits: Annotated[Literal[0, 8, 16], BeforeValidator(_whole)] = 0
    steps: Count
    batch_size: Count
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Natural
    floor: Share = 0.1
    clip: Annotated[Real, Field(ge=0)] = 1.0
    nonfinite: Literal["stop", "skip"] = "stop"

    # What is looked at and kept.
    log_every: Count = 10
    eval_every: Count = 50
    eval_batches: Count = 8
    save_every: Count = 100
    keep: Count = 3
    record_gradients: Natural = 0
    prompt: str = "def "
    sample_bytes: Natural = 200
    temperature: Annotated[Real, Field(ge=0)] = 0.8

    @field_validator("betas", mode="before")
    @classmethod
    def _betas_from_text(cls, value: Any) -> Any:
        """``"0.95 0.98"`` and ``"0.95, 0.98"``, as flags and the environment give them."""
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("lr", "betas", "weight_decay")
    @classmethod
    def _as_lion_does(cls, value: Any, info: Any) -> Any:
        """The library's own rules for an optimizer's settings."""
        try:
            LionConfig(**{info.field_name: value})
        except ConfigError as error:
            raise ValueError("; ".join(error.problems)) from None
        return value

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str) -> str:
        if value not in PRESETS:
            raise ValueError(
                f"preset = {value!r} is not one of {', '.join(PRESETS)}{hint(value, PRESETS)}"
            )
        return value

    @field_validator("lr", "weight_decay", "clip")
    @classmethod
    def _fits_float32(cls, value: float, info: ValidationInfo) -> float:
        if value > FLOAT32_MAX:
            raise ValueError(f"{info.field_name} = {value} is above the largest float32, 3.4e38")
        return value

    @field_validator("data")
    @classmethod
    def _a_path(cls, value: str) -> str:
        if not value or "\0" in value:
            raise ValueError(f"data = {value!r} is no path; the built-in text is 'stdlib'")
        return value

    @field_validator("temperature")
    @classmethod
    def _divides_logits(cls, value: float) -> float:
        if 0 < value < LOWEST_TEMPERATURE:
            raise ValueError(f"temperature = {value} is neither 0 nor >= {LOWEST_TEMPERATURE}")
        return value

    # What a setting must be beside others. ``info.data`` has those of the fields above it that are
    # right by themselves; so a mistake elsewhere hides none of these.

    @field_validator("heads")
    @classmethod
    def _divides_width(cls, heads: int, info: ValidationInfo) -> int:
        width = info.data.get("width")
        if width is not None and width % (2 * heads):
            raise ValueError(f"width = {width} is not heads = {heads} times an even number")
        return heads

    @field_validator("betas")
    @classmethod
    def _equal_for_signum(
        cls, betas: tuple[float, float], info: ValidationInfo
    ) -> tuple[float, float]:
        if info.data.get("optimizer") == "signum" and betas[0] != betas[1]:
            raise ValueError(f"betas = {betas} differ; signum is Lion with equal betas")
        return betas

    @field_validator("momentum_dtype")
    @classmethod
    def _of_lion_alone(cls, dtype: str, info: ValidationInfo) -> str:
        if dtype != "auto" and info.data.get("optimizer") == "adamw":
            raise ValueError(
                f"momentum_dtype = {dtype!r} is for lion and signum; the moments of adamw have the "
                "dtype of the weights, so leave momentum_dtype at 'auto'"
            )
        return dtype

    @field_validator("correction_bits")
    @classmethod
    def _of_bfloat16(cls, bits: int, info: ValidationInfo) -> int:
        if bits and info.data.get("optimizer") == "adamw":
            raise ValueError(f"correction_bits = {bits} is for lion and signum")
        if bits and info.data.get("dtype") == "float32":
            raise ValueError(
                f"correction_bits = {bits} is for dtype = 'bfloat16'; float32 weights lack nothing"
            )
        return bits

    @field_validator("record_gradients")
    @classmethod
    def _of_lion(cls, count: int, info: ValidationInfo) -> int:
        if count and info.data.get("optimizer") == "adamw":
            raise ValueError(
                f"record_gradients = {count} is for lion and signum; a stream is replayed on a Lion"
            )
        return count

    @field_validator("warmup")
    @classmethod
    def _below_steps(cls, warmup: int, info: ValidationInfo) -> int:
        steps = info.data.get("steps")
        if steps is not None and warmup >= steps:
            raise ValueError(f"warmup = {warmup} is not below steps = {steps}")
        return warmup

    def architecture(self) -> Architecture:
        """The model's dimensions."""
        return Architecture(self.layers, self.width, self.heads, self.hidden, self.sequence)

    def engine_settings(self) -> EngineSettings:
        """What the engine needs."""
        return EngineSettings(
            self.architecture(),
            self.optimizer,
            self.betas,
            self.weight_decay,
            self.clip,
            self.device,
            self.dtype,
            self.compile,
            None if self.momentum_dtype == "auto" else self.momentum_dtype,
            self.correction_bits or None,
        )


def load_saved(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration that a run folder or a checkpoint holds.

    Raises:
        DataError: if it is not one.
    """
    try:
        return TrainConfig.model_validate(dict(values))
    except ValidationError as error:
        raise DataError(f"the saved configuration is damaged: {sentences(error, {})[0]}") from None


def hint(name: str, known: Iterable[str]) -> str:
    """``; did you mean ...?``, or nothing if no name is near."""
    nearest = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def sentences(error: ValidationError, sources: Mapping[str, str]) -> list[str]:
    """pydantic's findings in the style of the library: what was given, and what is allowed."""
    sentences = []
    for one in error.errors():
        if one["type"] == "value_error":
            sentences.append(str(one["ctx"]["error"]))
            continue
        field = str(one["loc"][0]) if one["loc"] else ""
        if one["type"] == "missing":
            few = len(one["loc"]) > 1
            sentences.append(f"{field} has too few values" if few else f"{field} is missing")
            continue
        where = sources.get(field, "")
        what = one["msg"].replace("Input should be", "should be").replace("Input", "it")
        what = _KINDS.get(one["type"], what.removeprefix("should be "))
        must = f"must be {what}" if what != one["msg"] else what
        given = json.dumps(one["input"], default=str)
        place = f" ({where})" if where else ""
        sentences.append(f"{field} = {given}{place} {must[0].lower()}{must[1:]}")
    return sentences
