"""The portable state of Keras models: names, and what cannot be converted."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "keras.md"

REFUSED = {
    "no Lion": "the optimizer is Adam, not a keras.optimizers.Lion",
    "no Lion inside": "the optimizer is Adam, not a keras.optimizers.Lion",
    "not built": r"no state yet; call optimizer\.build\(model\.trainable_variables\) first",
    "another model": "variable 'model/dense/kernel' is not among those given",
    "namesakes": "two variables have the path 'v'",
    "a parameter less": "no parameter 'model.dense.bias'",
    "a parameter more": "has 'more', which is no parameter of this Lion",
    "another shape": r"saved with shape \(3, 2\), and has \(3, 4\)",
    "another dtype": "saved as float32, and is bfloat16; make the model with",
    "rounded momentum": "the momentum of 'model.dense.kernel' was saved as float32 and has digits",
    "rounded average": "the average of .* digits that bfloat16, in which Keras keeps it, does not",
    "rounded sum": "the gradient sum of .* digits that bfloat16",
    "independent decay": "decay='independent', which Keras' Lion does not have",
    "micro-steps": "2 micro-steps into an update, and this optimizer makes one of 2",
    "an average": "needs use_ema, and this optimizer is without",
    "a loss scale": "needs a LossScaleOptimizer around it",
}


@pytest.fixture(scope="module")
def seen(backend, worker):
    return worker("models.py", backend)


def test_names_are_paths_with_dots(seen):
    assert seen["names"] == ["model.dense.kernel", "model.dense.bias"]
    assert seen["shapes"] == [[3, 2], [2]]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_refused_before_anything_changes(name, seen):
    assert re.search(REFUSED[name], seen["refused"][name])
    assert seen["refused"].keys() == REFUSED.keys()


def test_the_converter_imports_no_keras():
    code = "import sys, lion_ports.keras; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_block_of_the_guide_runs(worker, tmp_path):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    script = tmp_path / "block.py"
    script.write_text(block + "print('null')\n")
    worker(script, "torch")
