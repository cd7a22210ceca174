"""What can go wrong when a policy server is asked."""


class PolicyError(Exception):
    """A request that could not be made or was refused, in one line.

    Attributes:
        code: What went wrong, for programs: a name of the protocol such as ``BAD_SHAPE``,
            ``NO_SESSION`` or ``DEADLINE``, or one of this package: ``BAD_OPTION``, ``BAD_REPLY``,
            ``CONTRACT_CHANGED``, ``GOODBYE``, ``CLOSED``, ``TIMEOUT``.
        detail: In words: what was expected, what was found, and what to do.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class ReloadRefused(PolicyError):  # noqa: N818 (named as the others are called)
    """The server did not take in its run anew; the model before goes on.

    Its code says why: ``BAD_FRAME`` when no client may ask for it, ``BUSY`` when it is being read
    already, ``INTERNAL`` when the run cannot be read or needs another robot.
    """


class PolicyTimeout(PolicyError, TimeoutError):  # noqa: N818 (named as the others are called)
    """No answer in time; the detail names the endpoint and what to check there."""

    def __init__(self, detail: str) -> None:
        super().__init__("TIMEOUT", detail)

    def __reduce__(self) -> tuple[type["PolicyTimeout"], tuple[str]]:
        return type(self), (self.detail,)
