"""Settings, their errors, the paper's presets, and what importing the package imports."""

import math
import pickle
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import lion_ports
from lion_ports import PRESETS, ConfigError, LionConfig, LionError, from_adamw
from lion_ports.config import misspelt


def test_defaults_are_the_papers():
    config = LionConfig()
    assert (config.lr, config.betas, config.weight_decay) == (1e-4, (0.9, 0.99), 0.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": -1.0}, "lr = -1.0 is not a finite number >= 0"),
        ({"lr": math.nan}, "lr = nan is not a finite number >= 0"),
        ({"lr": "fast"}, "lr = 'fast' is not a finite number >= 0"),
        ({"lr": True}, "lr = True is not a finite number >= 0"),
        ({"betas": (1.0, 0.99)}, r"betas\[0\] = 1.0 is not in \[0, 1\)"),
        ({"betas": (0.9, -0.1)}, r"betas\[1\] = -0.1 is not in \[0, 1\)"),
        ({"betas": 0.9}, "betas = 0.9 is not a pair of numbers"),
        ({"weight_decay": math.inf}, "weight_decay = inf is not a finite number >= 0"),
        ({"decay": "coupld"}, "decay = 'coupld' is not one of .* did you mean 'coupled'"),
        ({"momentum_dtype": "float16"}, "momentum_dtype = 'float16' is not one of"),
        ({"nonfinite": "ignore"}, "nonfinite = 'ignore' is not one of"),
        ({"maximize": "yes"}, "maximize = 'yes' is not one of False, True"),
        ({"lr_peak": 1e-3}, "lr_peak = 0.001 has no effect without decay='independent'"),
        ({"decay": "independent", "lr": 0.0}, "needs lr_peak > 0, and 0.0 was given"),
        ({"decay": "independent", "lr": lambda step: 1.0}, "schedule needs lr_peak"),
        ({"decay": "independent", "lr_peak": "x"}, "needs lr_peak > 0, and 'x' was given"),
        ({"decay": "independent", "lr_peak": 1e-320}, "needs lr_peak > 0, and 1e-320"),
        ({"weight_decay": -1, "lr_peak": 1e-3}, "2 problems: .*; lr_peak = 0.001 has no effect"),
        ({"cautious": 1.5}, "cautious = 1.5 is not one of False, True"),
        ({"cautious": True, "cautious_cap": 0.5}, "cautious_cap = 0.5 is not a finite number >= 1"),
        ({"cautious_cap": 2.0}, "cautious_cap = 2.0 has no effect without cautious=True"),
        ({"nonlinearity": "tan"}, "nonlinearity = 'tan' is not one of .* did you mean 'tanh'"),
        ({"nonlinearity": "tanh", "steepness": 0}, "steepness = 0 is not a finite number > 0"),
        ({"steepness": 2.0}, "steepness = 2.0 has no effect without nonlinearity other than"),
        ({"clipnorm": 0.0}, "clipnorm = 0.0 is not a finite number > 0"),
        ({"clipvalue": 1.0, "clipnorm": 1.0}, "at most one way to clip .* clipvalue and clipnorm"),
        ({"gradient_accumulation_steps": 0}, "steps = 0 is not a whole number >= 1"),
        ({"gradient_accumulation_steps": True}, "steps = True is not a whole number >= 1"),
        ({"ema_decay": 1.0}, r"ema_decay = 1.0 is not in \[0, 1\)"),
        ({"ema_decay": 0.9, "ema_overwrite_every": 1.5}, "every = 1.5 is not a whole number"),
        ({"ema_overwrite_every": 5}, "ema_overwrite_every = 5 has no effect without ema_decay"),
        ({"loss_scale": "dynamc"}, "'dynamc' is not one of 'dynamic'; did you mean 'dynamic'"),
        ({"loss_scale": 0}, "loss_scale = 0 is not a finite number > 0"),
        ({"loss_scale": "dynamic", "nonfinite": "raise"}, "skips what is not finite"),
        ({"loss_scale_growth_interval": 5}, "has no effect without loss_scale='dynamic'"),
    ],
)
def test_bad_settings_are_refused_with_what_came_and_what_is_allowed(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        LionConfig(**settings)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("learning_rate", "lr"),
        ("wd", "weight_decay"),
        ("b1", "betas"),
        ("mu_dtype", "momentum_dtype"),
    ],
)
def test_what_others_call_a_setting_is_answered_with_our_name(name, ours):
    with pytest.raises(ConfigError, match=f"'{name}'; did you mean '{ours}'"):
        LionConfig.from_options({name: 0.5})
    assert misspelt([name])
    assert not misspelt(["lr_scale", "initial_lr", "params", "name", ours])


@pytest.mark.parametrize("dtype", [np.float32, np.dtype(np.float32), ml_dtypes.bfloat16])
def test_dtypes_of_frameworks_are_names(dtype):
    assert LionConfig(momentum_dtype=dtype).momentum_dtype == np.dtype(dtype).name


def test_all_problems_come_in_one_error():
    with pytest.raises(ConfigError) as error:
        LionConfig.from_options({"lr": -1, "betas": (0.9, 2), "weight_decy": 0})
    assert len(error.value.problems) == 3
    assert str(error.value).startswith("3 problems: unknown setting 'weight_decy'; did you mean")


def test_errors_are_also_what_python_expects():
    assert issubclass(ConfigError, ValueError)
    assert issubclass(ConfigError, LionError)
    assert issubclass(lion_ports.DtypeError, TypeError)


def test_zero_is_a_legal_learning_rate_and_beta():
    assert LionConfig(lr=0, betas=(0, 0)).betas == (0, 0)


def test_independent_decay_is_a_coupled_one_at_the_peak():
    config = LionConfig(lr=2.0**-6, decay="independent", weight_decay=0.25)
    assert config.lr_peak == 2.0**-6
    scalars = config.scalars(2.0**-6, 0.25, config.lr_peak)
    assert scalars.lr * scalars.wd / scalars.lr_peak == 0.25
    assert config.scalars(2.0**-6, 0.25, config.lr_peak, decays=False).wd == 0


def test_presets_hold_the_table():
    assert PRESETS["vit-b16-aug"].lion == (1e-4, 10.0, (0.9, 0.99))
    assert PRESETS["vit-b16-aug"].baseline == (1e-3, 1.0, (0.9, 0.999))
    assert PRESETS["lm-7b"].lion == (1e-4, 0.01, (0.95, 0.98))
    assert PRESETS["lm-7b"].baseline_name == "Adafactor"
    assert PRESETS["imagen"].lion.weight_decay is None
    assert len(PRESETS) == 24


def test_every_preset_is_a_valid_configuration_with_a_smaller_rate_than_its_baseline():
    for preset in PRESETS.values():
        LionConfig(preset.lion.lr, preset.lion.betas, preset.lion.weight_decay or 0.0)
        assert preset.lion.lr < preset.baseline.lr


def test_from_adamw_keeps_the_strength_of_the_decay():
    lion = from_adamw(lr=3e-4, weight_decay=0.1, ratio=3)
    assert math.isclose(lion["lr"] * lion["weight_decay"], 3e-4 * 0.1)
    with pytest.raises(ConfigError, match="ratio=0"):
        from_adamw(3e-4, 0.1, ratio=0)
    with pytest.raises(ConfigError, match="finite"):
        from_adamw(math.inf, 0.1)


def test_errors_survive_pickling():
    for error in (lion_ports.NonFiniteError(["weight"]), ConfigError("a", "b")):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    "statement",
    ["import lion_ports", "import lion_ports.reference", "import lion_ports.cli"],
)
def test_importing_the_core_imports_no_framework(statement):
    code = f"{statement}\nimport sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "jax", "jaxlib", "mlx", "optax", "equinox", "keras", "click"}
