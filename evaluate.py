"""The test pass alone: `python evaluate.py ckpt=RUN_OR_FILE [dataset=...]`, or of `model=...` untouched."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fashionclip.app.home import expand_arguments, expand_config
from fashionclip.app.run_folder import own_run_folder
from fashionclip.app.user_errors import one_message


@hydra.main(version_base="1.3", config_path="configs", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    with one_message(), own_run_folder():
        from fashionclip.app.config import check_added_keys, check_values
        from fashionclip.app.evaluate import evaluate

        check_added_keys(cfg, HydraConfig.get().overrides.task)
        expand_config(cfg)
        check_values(cfg)
        evaluate(cfg)


if __name__ == "__main__":
    expand_arguments()
    main()
