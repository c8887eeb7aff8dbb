"""`fashionclip prepare`, in a clone also `python prepare.py`: makes a prepared dataset of raw photos and tables.
With `check_only=true` it says what that would be, and leaves none."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fashionclip.app.home import expand_config
from fashionclip.app.hydra_command import hydra_command
from fashionclip.app.user_errors import one_message

NAME = "prepare"
HELP = "make a dataset ready for training, or check it: dataset=NAME dataset.source=DIR [check_only=true]"


@hydra_command
def main(cfg: DictConfig) -> None:
    with one_message():
        from fashionclip.app.check import check
        from fashionclip.app.config import check_added_keys, check_values
        from fashionclip.app.datasets import prepare

        check_added_keys(cfg, HydraConfig.get().overrides.task)
        expand_config(cfg)
        check_values(cfg)
        if cfg.check_only:
            check(cfg.dataset, to=Path(cfg.check_to), photos=cfg.check_photos)
        else:
            prepare(cfg.dataset)
