"""The API reference is made from the docstrings, by the command of CONTRIBUTING.md."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from lion_ports import LionConfig

ROOT = Path(__file__).parents[1]
COMMAND = re.search(r"^    python -m (pdoc .*)$", (ROOT / "CONTRIBUTING.md").read_text(), re.M)[1]

for module in ("pdoc", "torch", "jax", "mlx"):
    pytest.importorskip(module, reason=f"needs {module!r}, of the extra 'dev'")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    words = [shlex.quote(str(folder)) if word == "site" else word for word in COMMAND.split()]
    code = [sys.executable, "-W", "error", "-m"]
    subprocess.run(["bash", "-c", shlex.join(code) + " " + " ".join(words)], check=True)
    return folder


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("lion_ports/torch.html", ["Lion", "release_gradients", "export_state", "import_state"]),
        ("lion_ports/jax.html", ["fused_lion", "lion", "scale_by_lion", "averaged_params"]),
        ("lion_ports/mlx.html", ["Lion", "export_state", "import_state"]),
        ("lion_ports/keras.html", ["export_state", "import_state"]),
        ("lion_ports/reference.html", ["lion_update", "step", "init"]),
        ("lion_ports.html", ["LionConfig", "PortableState", "save_state", "load_state"]),
    ],
)
def test_every_page_has_its_names(site, page, names):
    text = (site / page).read_text()
    for name in names:
        assert f'id="{name}"' in text, name


@pytest.mark.parametrize("page", ["torch", "jax", "mlx"])
def test_every_port_documents_every_option(site, page):
    text = (site / f"lion_ports/{page}.html").read_text()
    renamed = {"lr": "learning_rate", "momentum_dtype": "mu_dtype", "betas": "b1"}
    for field in fields(LionConfig):
        assert field.name in text or renamed.get(field.name, "") in text, field.name
