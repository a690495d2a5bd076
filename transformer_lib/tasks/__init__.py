"""What ``python -m transformer_lib.train`` can train: a task a file, and the file's name is the task's.

A task says what there is to learn: the data, the model, the objective, how it is evaluated, and what is saved. The
command does the rest, the same for all: recipe, device, processes, checkpoints, record.
"""

import pkgutil
from abc import ABC, abstractmethod
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from transformer_lib.objectives import Batch, Objective, mean_loss
from transformer_lib.training import Batches, Recipe


class Task(ABC):
    """Something to learn.

    A subclass is made from the options of the command, and has all these attributes then:

    - ``recipe``, of the class: how to train, unless the command says otherwise;
    - ``model``: with its first weights, on the CPU;
    - ``batches``: of training, each by its number;
    - ``valid``: batches that training does not see;
    - ``objective``: what training lowers;
    - ``about``: what the record shall say besides what the command knows, such as the corpora.

    Args:
        options: the command's, and those that :meth:`add_options` added.
    """

    recipe: ClassVar[Recipe]
    model: nn.Module
    batches: Batches
    valid: Sequence[Batch]
    objective: Objective
    about: dict[str, Any]

    @classmethod  # noqa: B027 - most tasks have no options of their own
    def add_options(cls, parser: ArgumentParser) -> None:
        """Add the options that only this task has.

        Args:
            parser: of the command.
        """

    @abstractmethod
    def __init__(self, options: Namespace) -> None: ...

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Measure the model in the midst of training: its mean loss on ``valid``, unless a task knows better.

        Args:
            model: in evaluation mode.
        """
        return {"valid": mean_loss(model, self.valid, self.objective)}

    @abstractmethod
    def save(self, folder: Path, record: dict[str, Any], device: torch.device) -> None:
        """Write what was trained, and measure it. In several processes the first alone does it.

        Args:
            folder: of the run.
            record: how it was trained; the task adds its results.
            device: that the model was trained on.
        """


def tasks() -> dict[str, type[Task]]:
    """All tasks by their names: each module of this package holds one.

    Raises:
        ImportError: a module that holds no task of its own, or several.
    """
    found = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = import_module(f"{__name__}.{name}")
        own = [value for value in vars(module).values() if _is_task(value) and value.__module__ == module.__name__]
        if len(own) != 1:
            raise ImportError(f"{module.__name__} must define one subclass of Task; it has {len(own)}")
        found[name] = own[0]
    return found


def _is_task(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Task)
