"""The one error for what a user can mend; `train.py` and its siblings print its message without a traceback."""


class InputError(ValueError):
    """A config, file or table is not as it must be. The message says what, got, expected and the remedy."""
