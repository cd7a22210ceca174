"""What may go wrong here, said on one line."""


class MetaworldError(Exception):
    """What was expected, what was found, and where it is known, what to type next."""
