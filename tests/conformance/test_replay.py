"""Recorded gradients put to an implementation, by the command line."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from usual import usually

from lion_ports.conformance.cases import CASES, recorded
from lion_ports.streams import GradientStream, StreamError, load_stream, save_stream
from lion_ports.tensors import from_bytes, to_bytes

RECIPE_PAGE = Path(__file__).parents[2] / "docs" / "conformance-replay.md"

COUPLED = """
from dataclasses import replace
from lion_ports import reference

class Coupled:
    "Weight decay in the gradient."

    def start(self, params, config):
        self.x, self.wd = dict(params), config.weight_decay
        self.config = replace(config, weight_decay=0.0)
        self.state = reference.init(params, config)

    def step(self, grads, lr):
        grads = {n: g + g.dtype.type(self.wd) * self.x[n] for n, g in grads.items()}
        self.x, self.state = reference.step(self.x, grads, self.state, self.config, lr=lr)

    def params(self):
        return self.x

    def momentum(self):
        return self.state.momentum
"""


@pytest.fixture
def stream(tmp_path):
    rng = np.random.Generator(np.random.Philox(1))
    gradients = [{"w": rng.standard_normal((3, 4)).astype(np.float32)} for _ in range(5)]
    weights = {"w": np.ones((3, 4), np.float32)}
    recorded = GradientStream(weights, gradients, [0.01] * 5, (0.9, 0.99), 0.5)
    save_stream(tmp_path / "mine.safetensors", recorded)
    (tmp_path / "theirs.py").write_text(COUPLED)
    return recorded


def test_a_stream_is_judged_on_any_implementation(conformance, stream, tmp_path):
    options = ("--impl", "numpy", "--level", "bitwise", "--json", "out.json")
    done = conformance("replay", "mine.safetensors", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (numpy,) = json.loads((tmp_path / "out.json").read_text())["implementations"]
    assert [(c["id"], c["outcome"]) for c in numpy["cases"]] == [("mine.safetensors", "EXACT")]


def test_a_failure_is_told_as_run_tells_it_with_a_command_that_replays(
    conformance, stream, tmp_path
):
    target = ("--impl", "python:theirs:Coupled")
    done = conformance("replay", "mine.safetensors", *target, cwd=tmp_path)
    assert done.returncode == 1
    assert "behaves as `decay-coupled`" in done.stdout
    line = next(
        line for line in done.stdout.splitlines() if line.startswith("    lion-conformance")
    )
    again = conformance(*shlex.split(line)[1:], cwd=tmp_path)
    assert again.returncode == 1
    assert "behaves as `decay-coupled`" in again.stdout


def test_the_undecayed_do_not_decay(conformance, stream, tmp_path):
    kept = GradientStream(
        stream.parameters, stream.gradients, stream.rates, (0.9, 0.99), 0.5, ["w"]
    )
    save_stream(tmp_path / "kept.safetensors", kept)
    done = conformance(
        "replay", "kept.safetensors", "--impl", "python:theirs:Coupled", cwd=tmp_path
    )
    assert "not offered: a weight decay mask" in done.stdout
    assert recorded.stream_case(str(tmp_path / "kept.safetensors")).build().mask == {"w": False}


def test_files_that_are_no_streams_get_one_sentence_and_status_two(conformance, stream, tmp_path):
    whole = (tmp_path / "mine.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-4])
    (tmp_path / "turned.safetensors").write_bytes(whole[:-1] + b"\x01")
    (tmp_path / "text.safetensors").write_text("no tensors")
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2)}, tmp_path / "foreign.safetensors")
    for name, words in {
        "cut": "not a whole safetensors file",
        "turned": "it is damaged",
        "text": "not a whole safetensors file",
        "foreign": "of another program",
        "absent": "No such file",
    }.items():
        done = conformance("replay", f"{name}.safetensors", "--impl", "numpy", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), name
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = conformance("replay", "theirs.py", "--impl", "numpy", cwd=tmp_path)
    assert (done.returncode, "no .safetensors file" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": {}}, "no parameters or no steps"),
        ({"rates": [0.1]}, "5 steps have 1 learning rates"),
        ({"rates": [0.1] * 4 + [-1.0]}, "lr = -1.0"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"weight_decay": float("inf")}, "weight_decay"),
        ({"undecayed": ["v"]}, "'v' is to be left undecayed"),
        ({"gradients": [{"w": np.ones(3)}] * 5}, "step 1 has no gradient of 'w' in its shape"),
        ({"gradients": [{"w": np.ones((3, 4)), "v": np.ones(1)}] * 5}, "step 1 has a gradient of"),
    ],
)
def test_a_stream_whose_parts_do_not_fit_together_is_refused(stream, changes, words):
    with pytest.raises(StreamError, match=words):
        replace(stream, **changes)


def test_a_file_of_another_version_or_with_a_wrong_header_is_refused(stream, tmp_path):
    tensors, metadata = from_bytes((tmp_path / "mine.safetensors").read_bytes())
    for changes, words in (
        ({"version": "2"}, "it has version 2; version 1 is known"),
        ({"format": "lion-ports-state"}, "a file of another kind"),
        ({"stream": "{}"}, "its header is damaged"),
        ({"stream": "no json"}, "its header is damaged"),
    ):
        path = tmp_path / "other.safetensors"
        path.write_bytes(to_bytes(tensors, metadata | changes))
        with pytest.raises(StreamError, match=words):
            load_stream(path)


@pytest.mark.parametrize("case_id", ["recorded-float32", "recorded-bfloat16"])
def test_the_shipped_streams_are_of_a_real_run(case_id):
    dtype = case_id.removeprefix("recorded-")
    file = Path(recorded.__file__).with_name(f"{case_id}.safetensors")
    stream = load_stream(file)
    assert file.stat().st_size < 10**6
    assert {str(x.dtype) for x in stream.parameters.values()} == {dtype}
    assert len(set(stream.rates)) > 10
    assert stream.source["backend"] == "torch"
    assert len(CASES[case_id].build().steps) == len(stream) == 24


RECIPES = re.findall(
    r"^## (\w+)\n\n```python\n(.*?)^```", RECIPE_PAGE.read_text(), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize(
    ("title", "recipe"),
    usually([recipe for recipe in RECIPES if recipe[0] != "JAX"], RECIPES),
    ids=[title for title, _ in RECIPES],
)
def test_the_recipes_record_a_run_that_can_be_replayed(conformance, tmp_path, title, recipe):
    backend = {"PyTorch": "torch"}.get(title, title.lower())
    for package in ("jax", "optax") if backend == "jax" else (backend,):
        pytest.importorskip(package, reason=f"needs the extra {backend!r}")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", recipe], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    stream = load_stream(tmp_path / "gradients.safetensors")
    assert len(stream) == 20
    first, last = stream.gradients[0], stream.gradients[-1]
    assert all((first[name] != last[name]).any() for name in first)  # copies, and no views
    words = ("replay", "gradients.safetensors", "--impl", "numpy", "--impl", backend)
    done = conformance(*words, "--level", "bitwise", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("conforms at level bitwise: 1 of 1 judged case passed") == 2


def test_there_is_a_recipe_for_each_framework():
    assert [title for title, _ in RECIPES] == ["PyTorch", "JAX", "MLX"]
