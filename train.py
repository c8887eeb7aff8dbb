"""Fine-tune a backbone: `python train.py dataset=kaggle-products loss=contrastive model=lite0`; see `--help`."""

import hydra
from omegaconf import DictConfig

from fashionclip.app.home import expand_arguments
from fashionclip.app.run_folder import own_run_folder
from fashionclip.app.user_errors import one_message


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> float | None:
    with one_message(), own_run_folder():
        from fashionclip.app.run import train  # not above: --help and config errors need no torch

        return train(cfg)


if __name__ == "__main__":
    expand_arguments()
    main()
