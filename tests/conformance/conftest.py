"""What tests of the pytest plugin share."""

import os
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="session")
def plugin_path(tmp_path_factory):
    """A PYTHONPATH on which pytest finds the plugin, installed or not, as pyproject.toml has it."""
    folder = tmp_path_factory.mktemp("plugin")
    found = folder / "lion_plugin-1.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Name: lion-plugin\nVersion: 1\n")
    lines = [f"{name} = {module}" for name, module in PROJECT["entry-points"]["pytest11"].items()]
    (found / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]) + "\n")
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
