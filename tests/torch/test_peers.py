"""Accelerate, Lightning and the Trainer of Hugging Face train with Lion, save and resume."""

from importlib.util import find_spec

import pytest
from usual import slow

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")


@pytest.fixture
def run(worker, tmp_path):
    """What a worker of this package wrote; in a process of its own, for its warnings."""

    def of(package):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: needs the extra 'peers'")
        worker(f"with_{package}.py", tmp_path)
        return torch.load(tmp_path / "found.pt")

    return of


# The Trainer of Hugging Face, which runs every time, trains by Accelerate.
@pytest.mark.parametrize("package", [slow("accelerate"), slow("lightning")])
def test_the_bits_are_those_of_a_plain_loop(package, run, bits):
    found = run(package)
    assert bits(found[package]) == bits(found["alone"])
    assert bits(found["resumed"]) == bits(found["alone"])
    assert {m.dtype for m in found["resumed"]["momentum"]} == {torch.bfloat16}


def test_the_trainer_of_hugging_face_learns_and_resumes(run, bits):
    found = run("transformers")
    losses = found["through"].pop("losses")
    assert len(losses) == 6
    assert losses[-1] < losses[0] - 0.2
    assert found["resumed"].pop("losses") == losses
    assert bits(found["resumed"]) == bits(found["through"])
