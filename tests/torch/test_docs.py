"""Every block of docs/torch.md runs."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from usual import usually

pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports.config import LionConfig
from lion_ports.torch import Lion

PAGE = Path(__file__).parents[2] / "docs" / "torch.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"^```python ?(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PLAIN = [code for kind, code in BLOCKS if not kind]
APART = {kind: code for kind, code in BLOCKS if kind}


@pytest.mark.parametrize("code", PLAIN, ids=range(len(PLAIN)))
def test_blocks_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, PAGE.name, "exec"), {})


@pytest.mark.parametrize(
    "kind",
    # What the others do is in test_peers.py and test_distributed.py, every time.
    usually(["lion_pytorch"], APART),
)
def test_blocks_run_in_processes_of_their_own(kind, worker, tmp_path):
    if kind != "torchrun" and find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed: needs the extra 'peers'")
    script = tmp_path / "block.py"
    script.write_text(APART[kind])
    worker(script, tmp_path, processes=2 if kind == "torchrun" else 1)


def test_the_table_has_every_option():
    table = TEXT[TEXT.index("## Options") : TEXT.index("## Parameter groups")]
    documented = set(re.findall(r"`(\w+)`\*?(?=[,*]* (?:\||`))", table))
    settings = {*LionConfig.__dataclass_fields__, "foreach"}
    assert settings <= documented
    assert settings <= set(Lion.__init__.__wrapped__.__annotations__)


def test_files_it_links_to_exist():
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXT):
        assert (PAGE.parent / target).exists(), target
