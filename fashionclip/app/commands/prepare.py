"""`fashionclip prepare`, in a clone also `python prepare.py`: makes a prepared dataset of raw photos and tables.
With `check_only=true` it says what that would be, and leaves none."""

from pathlib import Path

from omegaconf import DictConfig

from fashionclip.app.hydra_command import hydra_command
from fashionclip.app.user_errors import one_message

NAME = "prepare"
HELP = "make a dataset ready for training, or check it: dataset=NAME dataset.source=DIR [check_only=true]"


@hydra_command
def main(cfg: DictConfig) -> None:
    with one_message():
        from fashionclip.app.check import check
        from fashionclip.app.config import check_config
        from fashionclip.app.datasets import prepare

        check_config(cfg)
        if cfg.check_only:
            check(cfg.dataset, to=Path(cfg.check_to), photos=cfg.check_photos)
        else:
            prepare(cfg.dataset)
