"""What the README and docs/conformance.md show of ``lion-conformance run`` is what it prints."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = [
    block
    for page in ("README.md", "docs/conformance.md")
    for block in re.findall(r"^```\n(torch:my_.*?)^```", (ROOT / page).read_text(), re.M | re.S)
]

# As most people write it, and with their bug: torch.sign(NaN) is 0.
USUAL = """
import torch


class MyLion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (b1, b2), lr = group["betas"], group["lr"]
            for p in group["params"]:
                if p.grad is not None:
                    m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                    p.mul_(1 - lr * group["weight_decay"])
                    p.sub_((m * b1).add_(p.grad, alpha=1 - b1).sign_(), alpha=lr)
                    m.mul_(b2).add_(p.grad, alpha=1 - b2)
"""


def test_the_examples_are_printed(conformance, tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "optim.py").write_text(USUAL)
    words = ("run", "--impl", "torch:my_package.optim:MyLion", "--case", "nonfinite-*")
    done = conformance(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert len(SHOWN) == 2
    for block in SHOWN:
        assert done.stdout.startswith(block)


def test_no_message_names_an_index_on_which_lion_ports_is_not():
    code = [
        *ROOT.glob("lion_ports/**/*.py"),
        *ROOT.glob("c*/**/*.py"),
        *ROOT.glob("trainers/**/*.py"),
    ]
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "action.yml"]
    for path in {*code, *pages}:
        assert not re.search(r"pip install [^\n`]*(?<![/\w])lion-ports\[", path.read_text()), path


def test_a_missing_package_is_named_with_a_command_for_a_checkout(conformance, tmp_path):
    absent = "raise ModuleNotFoundError(\"No module named 'optax'\", name='optax')\n"
    (tmp_path / "optax.py").write_text(absent)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = conformance("run", "--impl", "optax:theirs:make", cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert done.stderr == (
        "lion-conformance: --impl optax:theirs:make needs the package 'optax', which is not "
        "installed: pip install '.[jax]' in a checkout of lion-ports\n"
    )
