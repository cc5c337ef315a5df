"""Steps that a CUDA graph captures, as far as they can be refused without a GPU."""

import pytest

from lion_ports import ConfigError

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports.torch import Lion, release_gradients  # noqa: E402

OPTIONS = {
    "a schedule of lr": {"lr": lambda step: 0.1},
    "a schedule of weight_decay": {"weight_decay": lambda step: 0.1},
    "ema_overwrite_every": {"ema_decay": 0.5, "ema_overwrite_every": 2},
    "momentum_dtype='int8'": {"momentum_dtype": "int8"},
    "correction_bits=8": {"correction_bits": 8},
    "gradient_accumulation_steps": {"gradient_accumulation_steps": 2},
    "nonfinite='skip'": {"nonfinite": "skip"},
    "loss_scale='dynamic'": {"loss_scale": "dynamic"},
}


@pytest.fixture
def capturing(monkeypatch):
    """As if a graph was captured now."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)


@pytest.mark.parametrize(("name", "options"), OPTIONS.items(), ids=OPTIONS)
def test_what_a_replay_cannot_do_is_refused(name, options, capturing, parameter, bits):
    p = parameter(1, 2, dtype=torch.bfloat16)
    optimizer = Lion([p], **options)
    before = bits([p, optimizer.state_dict()])
    with pytest.raises(ConfigError) as error:
        optimizer.step()
    assert str(error.value) == (
        f"a captured step is replayed without Python, which {name} needs at every step; make the "
        f"step outside of the graph, or leave {name} out"
    )
    assert bits([p, optimizer.state_dict()]) == before


def test_released_gradients_are_refused_as_well(capturing, parameter):
    p = parameter(1)
    release_gradients(Lion([p], nonlinearity="clip", lr=lambda step: 0.1))
    with pytest.raises(ConfigError, match="which a schedule of lr needs"):
        p.sum().backward()


def test_other_options_are_captured(capturing, parameter):
    p = parameter(1, 1, dtype=torch.bfloat16)
    settings = {"correction_bits": 16, "cautious_decay": True, "ema_decay": 0.5, "clipnorm": 1.0}
    Lion([p], lr=torch.tensor(0.5), **settings).step()
    assert p.tolist() == [0.5, 0.5]
