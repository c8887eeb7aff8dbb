"""`fashionclip evaluate`, in a clone also `python evaluate.py`: measures a run or an untouched model on test."""

from omegaconf import DictConfig

from fashionclip.app.hydra_command import hydra_command
from fashionclip.app.run_folder import own_run_folder
from fashionclip.app.user_errors import one_message

NAME = "evaluate"
HELP = "measure a run or an untouched model on test: ckpt=RUN or model=NAME dataset=NAME"


@hydra_command
def main(cfg: DictConfig) -> None:
    with one_message(), own_run_folder():
        from fashionclip.app.config import check_config
        from fashionclip.app.evaluate import evaluate

        check_config(cfg)
        evaluate(cfg)
