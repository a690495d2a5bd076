"""The stored translator, running in the page: type an English sentence, and see the translation grow."""

import base64
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import traitlets
from matplotlib.figure import Figure as Picture
from torch import Tensor

from transformer_lib.data.text import checked_texts
from transformer_lib.data.tokens import EOS, Reading, SpecialTokens, pad_rows, special_tokens
from transformer_lib.generation import greedy
from transformer_lib.plots import heatmap, record_attention
from transformer_lib.positions import Rotary, Sinusoidal
from transformer_lib.texts import text
from transformer_lib.translator import LONGEST, Translator
from transformer_lib.widgets.figure import LiveFigure, source

#: Bytes of weights in each script of the page, so that loading can report its progress.
PIECE = 600_000


def packed(translator: Translator) -> tuple[dict[str, Any], bytes]:
    """What the page needs of a translator: a header that JSON can hold, and the weights as float16 in a row.

    Args:
        translator: with rotary or sinusoidal positions as in the papers, layer normalization before the sublayers, and
            ReLU.

    Raises:
        ValueError: the model makes other choices, or its tokenizer numbers the special tokens otherwise, which the
            page's JavaScript does not know.
    """
    special = special_tokens(translator.tokenizer)
    if special != SpecialTokens(pad=0, bos=1, eos=2, unk=3):
        raise ValueError(f"the page's special tokens are numbered pad 0, bos 1, eos 2, unk 3; got {special}")
    for stack in (translator.model.encoder, translator.model.decoder):
        config = stack.config
        positions = config.positions
        found = (config.norm, config.pre_norm, config.activation, config.gated, config.bias)
        other = config.n_kv_heads or config.attention_scale or config.qk_norm
        if isinstance(positions, Rotary):  # with any base
            positions = replace(positions, base=Rotary.base)
        known = positions in (Rotary(), Sinusoidal())
        if not known or found != ("layer", True, "relu", False, True) or other:
            raise ValueError(f"the page runs pre-norm layers with ReLU, rotary or sinusoidal positions; got {config}")
    tokenizer = json.loads(translator.tokenizer.to_str())["model"]
    tokens = sorted(tokenizer["vocab"], key=tokenizer["vocab"].get)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["merges"]]
    weights, tensors = bytearray(), []
    for name, tensor in translator.model.state_dict().items():
        tensors.append({"name": name, "start": len(weights), "count": tensor.numel()})
        weights += tensor.detach().cpu().half().contiguous().numpy().tobytes()
    header = {
        "config": {
            part: {name: getattr(stack.config, name) for name in ("d_model", "n_heads", "n_layers", "norm_eps")}
            | {"rotary": getattr(stack.config.positions, "base", None)}
            for part, stack in (("encoder", translator.model.encoder), ("decoder", translator.model.decoder))
        },
        "tokenizer": {"tokens": tokens, "merges": merges},
        "seen": None if translator.seen is None else list(translator.seen),
        "tensors": tensors,
        "pieces": -(-len(weights) // PIECE),
    }
    return header, bytes(weights)


def write_scripts(folder: Path, translator: Translator) -> None:
    """Write the translator as classic scripts, which a page can load even when it was opened from disk.

    Args:
        folder: for ``header.js`` and ``0.js``, ``1.js``, …; made where it is missing.
        translator: see :func:`packed`.
    """
    header, weights = packed(translator)
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [weights[start : start + PIECE] for start in range(0, len(weights), PIECE)]
    texts = {"header": json.dumps(header, ensure_ascii=False, separators=(",", ":"))}
    texts |= {str(number): json.dumps(base64.b64encode(piece).decode()) for number, piece in enumerate(pieces)}
    for name, script in texts.items():
        (folder / f"{name}.js").write_text(f"attentionTranslator.push({script});\n", encoding="utf-8")


def looks(translator: Translator, reading: Reading, longest: int = LONGEST) -> tuple[Tensor, Tensor]:
    """The greedy translation of what was read, and where the decoder looked.

    Returns:
        The tokens written ``(query,)``, the end included; and the weights of the cross-attention, ``(query, key)``,
        averaged over layers and heads.
    """
    source_ids = pad_rows([reading.token_ids]).to(translator.model.embedding.weight.device)
    special = special_tokens(translator.tokenizer)
    written = greedy(
        translator.model,
        special.bos,
        source_ids,
        eos_id=special.eos,
        max_new_tokens=longest,
        forbidden=(special.bos, special.unk),
    )
    before = torch.cat([written.new_full((1, 1), special.bos), written[:, :-1]], dim=1)
    with torch.no_grad(), record_attention(translator.model) as record:
        translator.model(source_ids, before)
    cross = [calls[0][0] for name, calls in record.items() if "cross" in name]  # (heads, query, key) of each layer
    return written[0], torch.stack(cross).double().mean((0, 1))


class TranslatorFigure(LiveFigure):
    """A translator that runs in the page, from weights that are loaded on a click.

    Args:
        translator: what the kernel sends, and what the still picture shows; the library's own unless given. The built
            page always runs the library's own.
        sentence: the English sentence at first. Of one that is too long the beginning is read, and the figure says so.
        examples: sentences to choose from.
        beams: 1 for greedy, 4 for beam search with the length penalty of
            :meth:`transformer_lib.translator.Translator.translate`.

    Attributes:
        translation: of ``sentence``, as soon as the page has written it.

    Raises:
        TypeError: a sentence or an example that is no string, or examples that are a single string.
        ValueError: another number of beams, an empty sentence or example, or a model that the page cannot run.
    """

    _esm = source("translator")
    sentence = traitlets.Unicode().tag(sync=True)
    examples = traitlets.List(traitlets.Unicode()).tag(sync=True)
    beams = traitlets.Int(1).tag(sync=True)
    layers = traitlets.Int().tag(sync=True)
    longest = traitlets.Int().tag(sync=True)
    translation = traitlets.Unicode("").tag(sync=True)
    done = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        translator: Translator | None = None,
        *,
        sentence: str = "The book that you gave me was interesting.",
        examples: Iterable[str] = (),
        beams: int = 1,
    ):
        if beams not in (1, 4):
            raise ValueError(f"beams must be 1 or 4; got {beams}")
        self._translator = translator or Translator.load()
        packed(self._translator)
        texts = [sentence, *checked_texts(examples, "examples")]
        self._translator.read(texts)  # refuses what it cannot read
        super().__init__(
            sentence=sentence,
            examples=list(dict.fromkeys(texts)),
            beams=beams,
            layers=self._translator.model.decoder.config.n_layers,
            longest=self._translator.longest,
            heights=(460, 320),  # before it is loaded; the reader, who asks for it, sees it grow
        )
        self.on_msg(self._answer)

    def _answer(self, _: object, content: dict[str, Any], buffers: object) -> None:
        if content.get("want") == "weights":
            header, weights = packed(self._translator)
            self.send(header, buffers=[weights])

    def picture(self) -> Picture:
        """The translation of the sentence, and where the decoder looks."""
        [reading] = self._translator.read([self.sentence])
        written, weights = looks(self._translator, reading, self.longest)
        tokens = [str(self._translator.tokenizer.id_to_token(number)) for number in written.tolist()]
        # Unknown signs by their token's name: the picture's font may not have them either.
        unknown = special_tokens(self._translator.tokenizer).unk
        pieces = [
            text("unknown") if n == unknown else p for n, p in zip(reading.token_ids, reading.pieces, strict=True)
        ]
        spelled = [[piece.replace("▁", "·").replace(EOS, text("end")) for piece in side] for side in (tokens, pieces)]
        figure, ax = plt.subplots(figsize=(7, 4.4))
        heatmap(weights.numpy(), spelled[0], spelled[1], ax=ax, annotate=False)
        title = self._translator.decode(written.tolist())
        cut = text("(only the beginning of the sentence is read)")
        ax.set_title(f"{title}\n{cut}" if reading.unread else title)
        return figure

    def __repr__(self) -> str:
        return f"TranslatorFigure({self.sentence!r})"
