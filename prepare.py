"""Prepare a dataset: `python prepare.py dataset=kaggle-products dataset.source=DIR [dataset.root=OUT]`.

What runs is `fashionclip/app/commands/prepare.py`. (The word @hydra.main is what Hydra's shell completion looks for.)
"""

import sys

from fashionclip.app.commands.prepare import main

if __name__ == "__main__":
    main(sys.argv[1:])
