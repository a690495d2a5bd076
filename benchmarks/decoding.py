"""Decoding: our generation beside Hugging Face's, with the same weights, so that all write the same sentences."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import EOS, MODELS, OURS, PAD, batch_of
from benchmarks.tasks import Run, Setting
from transformer_lib.generation import beam_search, greedy
from transformer_lib.pretrained import copy_from_marian


def decoders(setting: Setting, beams: int) -> tuple[dict[str, Run], dict[str, float]]:
    """What to time, by name, and the share of the sentences that each writes exactly as ours.

    Weights are random. The rows of the padding and of the end of sentence are zero, so that neither is ever likely: all
    sentences reach the same length, and the work is the same.
    """
    torch.manual_seed(0)
    sizes, device = setting.sizes, setting.device
    source = batch_of(sizes, device).source
    models: dict[str, Any] = {
        name: MODELS[name].build(sizes).to(device).eval() for name in (OURS, "Marian, eager", "Marian, SDPA")
    }
    eager, sdpa = (models[name].model for name in ("Marian, eager", "Marian, SDPA"))
    with torch.no_grad():
        eager.model.shared.weight[[PAD, EOS]] = 0.0
    sdpa.load_state_dict(eager.state_dict())
    copy_from_marian(models[OURS], eager)

    def ours() -> Tensor:
        with setting.precision():
            options: dict[str, Any] = {"eos_id": EOS, "max_new_tokens": sizes.new_tokens}
            if beams == 1:
                return greedy(models[OURS], PAD, source, **options)
            # Hugging Face divides by the length, too.
            found = beam_search(models[OURS], PAD, source, beams=beams, penalty="power", **options)
            return torch.tensor([hypotheses[0].tokens for hypotheses in found])

    def theirs(model: Any) -> Tensor:
        with setting.precision():
            ids = model.generate(
                input_ids=source,
                attention_mask=source != PAD,
                max_new_tokens=sizes.new_tokens,
                num_beams=beams,
                do_sample=False,
            )
        return ids[:, 1:]

    runs: dict[str, Run] = {
        OURS: ours,
        "Marian, eager": lambda: theirs(eager),
        "Marian, SDPA": lambda: theirs(sdpa),
    }
    written = {name: run().cpu() for name, run in runs.items()}
    wanted = (sizes.batch, sizes.new_tokens)
    for name, ids in written.items():
        if tuple(ids.shape) != wanted:
            raise RuntimeError(f"{name} wrote {tuple(ids.shape)} tokens, not {wanted}: the work would not be equal")
    same = {name: float((ids == written[OURS]).all(1).float().mean()) for name, ids in written.items()}
    return runs, same
