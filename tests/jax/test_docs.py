"""Every block of docs/jax.md runs."""

import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from lion_ports.jax import lion

PAGE = Path(__file__).parents[2] / "docs" / "jax.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"^```python ?(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_blocks_run(number, tmp_path, monkeypatch):
    needs, code = BLOCKS[number]
    if needs and find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed: needs the extra 'peers'")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, PAGE.name, "exec"), {})


def test_the_table_has_every_option():
    table = TEXT[TEXT.index("## Options") : TEXT.index("## Inside of optax")]
    documented = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    names = re.findall(r"`(\w+)`", " ".join(documented))
    assert set(names) == set(inspect.signature(lion).parameters)


def test_files_it_links_to_exist():
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXT):
        assert (PAGE.parent / target).exists(), target
