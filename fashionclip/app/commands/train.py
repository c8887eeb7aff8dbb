"""`fashionclip train`, in a clone also `python train.py`: fine-tunes a backbone."""

from omegaconf import DictConfig

from fashionclip.app.hydra_command import hydra_command
from fashionclip.app.run_folder import own_run_folder
from fashionclip.app.user_errors import one_message

NAME = "train"
HELP = "fine-tune a backbone: dataset=NAME loss=NAME model=NAME"


@hydra_command
def main(cfg: DictConfig) -> float | None:
    with one_message(), own_run_folder():
        from fashionclip.app.run import train  # not above: --help and config errors need no torch

        return train(cfg)
