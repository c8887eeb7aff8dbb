"""`fashionclip prepare`, in a clone also `python prepare.py`: makes a prepared dataset of raw photos and tables."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fashionclip.app.home import expand_config
from fashionclip.app.hydra_command import hydra_command
from fashionclip.app.user_errors import one_message

NAME = "prepare"
HELP = "make a dataset ready for training: dataset=NAME dataset.source=DIR"


@hydra_command
def main(cfg: DictConfig) -> None:
    with one_message():
        from fashionclip.app.config import check_added_keys, check_values
        from fashionclip.app.datasets import prepare

        check_added_keys(cfg, HydraConfig.get().overrides.task)
        expand_config(cfg)
        check_values(cfg)
        prepare(cfg.dataset)
