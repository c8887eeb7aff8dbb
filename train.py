"""Fine-tune a backbone: `python train.py dataset=kaggle-products loss=contrastive model=lite0`; see `--help`.

`--again RUN` makes an earlier run once more, in a folder of its own; overrides behind it change it.
What runs is `fashionclip/app/commands/train.py`. (The word @hydra.main is what Hydra's shell completion looks for.)
"""

import sys

from fashionclip.app.commands.train import main

if __name__ == "__main__":
    main(sys.argv[1:])
