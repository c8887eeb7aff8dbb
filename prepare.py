"""Prepare a dataset: `python prepare.py dataset=kaggle-products dataset.source=DIR [dataset.root=OUT]`."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fashionclip.app.home import expand_arguments, expand_config
from fashionclip.app.user_errors import one_message


@hydra.main(version_base="1.3", config_path="configs", config_name="prepare")
def main(cfg: DictConfig) -> None:
    with one_message():
        from fashionclip.app.config import check_added_keys, check_values
        from fashionclip.app.datasets import prepare

        check_added_keys(cfg, HydraConfig.get().overrides.task)
        expand_config(cfg)
        check_values(cfg)
        prepare(cfg.dataset)


if __name__ == "__main__":
    expand_arguments()
    main()
