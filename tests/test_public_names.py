"""What `import fashionclip` shows, and what it and a search server do without."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fashionclip


def test_public_names_are_there_and_typed():
    assert set(fashionclip.__all__) <= set(dir(fashionclip)) and fashionclip.load.__name__ == "load_encoder"
    assert all(getattr(fashionclip, name) for name in fashionclip.__all__)
    tree = ast.parse(Path(fashionclip.__file__).read_text())
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]  # TYPE_CHECKING
    names = {alias.asname or alias.name for line in typed.body for alias in line.names}
    assert names == set(fashionclip.__all__) == set(fashionclip._PLACES)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        fashionclip.lod  # noqa: B018


def test_importing_it_needs_nothing():
    code = "import sys, fashionclip; print({'torch', 'hydra', 'numpy', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], text=True, capture_output=True).stdout == "set()\n"
