"""Errors that end a program with one message: what a user can mend, and a signal that asks it to end."""


class InputError(ValueError):
    """A config, file or table is not as it must be. The message says what, got, expected and the remedy."""


class Stopped(BaseException):
    """A signal asked the program to end. The message says what is kept; empty where another process says it.

    Args:
        message: To print.
        code: Exit code of the program.
    """

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code
