import pytest
from omegaconf import OmegaConf

from fashionclip.app.prepare import open_dataset, prepare
from fashionclip.errors import InputError


@pytest.mark.parametrize("function", [prepare, open_dataset])
@pytest.mark.parametrize("root", [None, ""])
def test_a_missing_root_is_one_message(function, root):
    cfg = OmegaConf.create({"_target_": "no.such.function", "name": "match-mismatch", "source": None, "root": root})
    with pytest.raises(InputError, match=r"dataset\.root: not given\. Expected the folder"):
        function(cfg)
