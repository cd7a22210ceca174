"""Scenes beside each other, each in a process of its own."""

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

from engraft_client.metaworld.scene import require_metaworld


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    require_metaworld()


@contextmanager
def workers(num_workers: int) -> Iterator[Executor]:
    """Fresh processes, because drawing contexts and sockets do not survive a fork.

    They are ended with the block: at once if it is left by an error or by Ctrl-C.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, context, _prepare)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown(cancel_futures=True)
