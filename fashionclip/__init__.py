"""Fine-tune, evaluate and search with open_clip backbones on fashion images."""

__version__ = "0.1.0"
