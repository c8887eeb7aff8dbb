"""`fashionclip train`, in a clone also `python train.py`: fine-tunes a backbone."""

from collections.abc import Sequence

from omegaconf import DictConfig

from fashionclip.app.again import expand_again, expand_resume
from fashionclip.app.hydra_command import hydra_command
from fashionclip.app.run_folder import own_run_folder
from fashionclip.app.user_errors import one_message

NAME = "train"
HELP = "fine-tune a backbone: dataset=NAME loss=NAME model=NAME; a run once more: --again RUN; or on: resume=RUN"


def main(words: Sequence[str]) -> None:
    _main(expand_resume(expand_again(words)))


@hydra_command
def _main(cfg: DictConfig) -> float | None:
    with one_message(), own_run_folder(resumed=cfg.get("resume") is not None):
        from fashionclip.app.run import train  # not above: --help and config errors need no torch

        return train(cfg)
