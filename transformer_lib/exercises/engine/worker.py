"""A fresh Python that waits for one function, calls it, and ends: for systems on which nothing can be forked."""

import linecache
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle
import torch

from transformer_lib.exercises import exercises
from transformer_lib.exercises.engine import processes
from transformer_lib.exercises.engine.processes import Mark


def main() -> None:
    """Read one request of :func:`processes.run_fresh` from the standard input, and answer it."""
    write = os.dup(1)
    os.dup2(2, 1)  # what the function prints must not mix with the messages
    exercises()  # imports all declarations while there is time
    size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    request = pickle.loads(sys.stdin.buffer.read(size))
    processes.serve(lambda: _prepared(request), write, request["seconds"])


def _prepared(request: dict[str, Any]) -> Callable[[Mark], Any]:
    """The function, in the same surroundings as its caller's."""
    sys.path[:] = request["path"]
    os.environ.clear()
    os.environ.update(request["environment"])
    if request["folder"] is not None:
        os.chdir(request["folder"])
    torch.set_default_dtype(getattr(torch, request["dtype"]))
    linecache.cache.update(request["lines"])
    function: Callable[[Mark], Any] = cloudpickle.loads(request["function"])
    return function
