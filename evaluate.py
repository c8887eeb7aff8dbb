"""The test pass alone: `python evaluate.py ckpt=RUN_OR_FILE [dataset=...]`, or of `model=...` untouched.

What runs is `fashionclip/app/commands/evaluate.py`. (The word @hydra.main is what Hydra's shell completion looks for.)
"""

import sys

from fashionclip.app.commands.evaluate import main

if __name__ == "__main__":
    main(sys.argv[1:])
