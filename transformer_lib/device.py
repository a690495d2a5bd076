"""Where to compute: the fastest device that this machine has."""

import torch


def best_device() -> torch.device:
    """The accelerator that PyTorch finds (CUDA, Apple's MPS, …), and the CPU where there is none."""
    if torch.accelerator.is_available():
        accelerator = torch.accelerator.current_accelerator()
        if accelerator is not None:
            return accelerator
    return torch.device("cpu")
