"""Fine-tune, evaluate and search with open_clip backbones on fashion images."""
