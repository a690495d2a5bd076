"""Multi-head attention, and the cache that spares a decoder from computing its past again.

Sources: Vaswani et al. (2017), section 3.2.2; grouped heads: Ainslie et al. (2023), *GQA*.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_lib.attention import attention, fused_attention
from transformer_lib.checks import check_heads, check_real, check_shape
from transformer_lib.positions import Rotation

# Looks at the attention weights of a call, or returns others to take their place.
Observer = Callable[[Tensor], Tensor | None]


def split_heads(x: Float[Tensor, "batch seq width"], n_heads: int) -> Float[Tensor, "batch {n_heads} seq d_head"]:
    """Cut each token's vector into ``n_heads`` pieces, and give every head its own batch axis.

    Args:
        x: ``(batch, seq, n_heads * d_head)``.
        n_heads: number of pieces.

    Returns:
        ``(batch, heads, seq, d_head)``.

    Raises:
        ValueError: ``x`` is not of rank 3, or its width is not divisible by ``n_heads``.
    """
    if x.ndim != 3:
        raise ValueError(f"x must have shape (batch, seq, width); got {tuple(x.shape)}")
    batch, seq, width = x.shape
    if n_heads < 1 or width % n_heads:
        raise ValueError(f"the width must be divisible by n_heads; got width {width} and n_heads {n_heads}")
    # (batch, seq, heads * d_head) -> (batch, seq, heads, d_head) -> (batch, heads, seq, d_head)
    return x.reshape(batch, seq, n_heads, width // n_heads).transpose(1, 2)


def merge_heads(x: Float[Tensor, "batch heads seq d_head"]) -> Float[Tensor, "batch seq width"]:
    """Put the heads' pieces side by side again: the inverse of :func:`split_heads`.

    Args:
        x: ``(batch, heads, seq, d_head)``.

    Returns:
        ``(batch, seq, heads * d_head)``.

    Raises:
        ValueError: ``x`` is not of rank 4.
    """
    if x.ndim != 4:
        raise ValueError(f"x must have shape (batch, heads, seq, d_head); got {tuple(x.shape)}")
    # (batch, heads, seq, d_head) -> (batch, seq, heads, d_head) -> (batch, seq, heads * d_head)
    return x.transpose(1, 2).flatten(-2)


class KVCache:
    """The keys and values of the positions that one attention layer has already seen.

    It belongs to the caller, who makes one per layer and passes it in; the layer keeps nothing. Its room doubles when
    it is full, so appending n positions copies O(n) of them. It is for inference: it cannot be differentiated through.
    """

    def __init__(self) -> None:
        self._keys: Tensor | None = None  # (batch, heads, room, d_head)
        self._values: Tensor | None = None  # (batch, heads, room, d_head)
        self.length = 0  # positions stored

    def __repr__(self) -> str:
        return f"KVCache(length={self.length})"

    def append(
        self, keys: Float[Tensor, "batch heads new d_head"], values: Float[Tensor, "batch heads new d_head"]
    ) -> tuple[Float[Tensor, "batch heads all d_head"], Float[Tensor, "batch heads all d_head"]]:
        """Store new positions, and return all of them, old and new.

        Args:
            keys: ``(batch, heads, new, d_head)``.
            values: ``(batch, heads, new, d_head)``.

        Returns:
            Keys and values of every position so far, ``(batch, heads, length, d_head)`` each. They are views into
            the cache, valid until the next call.

        Raises:
            RuntimeError: gradients are being recorded.
            ValueError: the shapes do not continue what is stored.
        """
        if keys.requires_grad or values.requires_grad:
            raise RuntimeError("a KVCache is for inference; call the model under torch.no_grad()")
        if keys.ndim != 4 or keys.shape != values.shape:
            raise ValueError(
                "keys and values must both have shape (batch, heads, new, d_head); "
                f"got {tuple(keys.shape)} and {tuple(values.shape)}"
            )
        if self._keys is None or self._values is None:
            stored_keys, stored_values = torch.empty_like(keys), torch.empty_like(values)
        else:
            stored_keys, stored_values = self._keys, self._values
        stored = stored_keys.shape
        if (*stored[:2], stored[3]) != (*keys.shape[:2], keys.size(3)):
            raise ValueError(
                f"the cache holds (batch, heads, d_head) = {(*stored[:2], stored[3])}; "
                f"got keys for {(*keys.shape[:2], keys.size(3))}"
            )
        end = self.length + keys.size(2)
        if end > stored[2]:
            stored_keys, stored_values = self._grown(stored_keys, end), self._grown(stored_values, end)
        # Behind the length is room that nobody reads, so an interruption before the last line changes nothing.
        stored_keys[:, :, self.length : end] = keys
        stored_values[:, :, self.length : end] = values
        self._keys, self._values, self.length = stored_keys, stored_values, end
        return stored_keys[:, :, :end], stored_values[:, :, :end]

    def reorder(self, index: Int[Tensor, "beams"]) -> None:
        """Keep the sequences that ``index`` names, in its order, as a beam search does after every step.

        Args:
            index: ``(beams,)``, positions along the batch axis.
        """
        if self._keys is not None and self._values is not None:
            self._keys, self._values = self._reordered(self._keys, index), self._reordered(self._values, index)

    def crop(self, length: int) -> None:
        """Forget the positions from ``length`` on.

        Args:
            length: positions to keep.

        Raises:
            ValueError: ``length`` outside what is stored.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"length must be from 0 to the {self.length} positions stored; got {length}")
        self.length = length
        if not length:
            self._keys = self._values = None  # as new: it may be filled with other sequences

    def adopt(self, other: "KVCache") -> None:
        """Become what ``other`` is, such as a copy that was extended. An interruption finds the one or the other.

        Args:
            other: a cache that is not used any more.
        """
        vars(self).update(vars(other))

    def _reordered(self, old: Tensor, index: Tensor) -> Tensor:
        new = old.new_empty(index.size(0), *old.shape[1:])
        torch.index_select(old[:, :, : self.length], 0, index, out=new[:, :, : self.length])  # the room stays empty
        return new

    def _grown(self, old: Tensor, needed: int) -> Tensor:
        room = max(needed, 2 * old.size(2))
        new = old.new_empty(*old.shape[:2], room, old.size(3))
        new[:, :, : self.length] = old[:, :, : self.length]
        return new


class AttentionTap:
    """The point that a layer's attention weights pass through, to be looked at or edited.

    While nobody observes, the layer takes the fused path, and weights do not exist. While somebody does, it takes the
    explicit path, and weights that an observer returns take the place of those that came in: that is how a head is
    ablated. To look only, use :func:`transformer_lib.plots.record_attention`, which records a compiled model too.
    PyTorch's compiler does not notice an observer of your own: run such a model under
    ``torch.compiler.set_stance("force_eager")`` meanwhile.

    Example:
        >>> def without_head_0(weights):
        ...     return weights * (torch.arange(weights.size(1)) > 0)[:, None, None]
        >>> layer = MultiHeadAttention(d_model=12, n_heads=3)
        >>> with layer.tap.observe(without_head_0):
        ...     ablated = layer(torch.ones(2, 5, 12))
    """

    def __init__(self) -> None:
        self._observers: dict[object, Observer] = {}  # replaced, never changed: a call sees those of its beginning

    @property
    def observed(self) -> bool:
        """Whether anybody is looking."""
        return bool(self._observers)

    @contextmanager
    def observe(self, observer: Observer) -> Iterator[None]:
        """Show the weights to ``observer`` while the context is open.

        Args:
            observer: gets the weights of each call, ``(batch, heads, query, key)``, as the observers before it left
                them. It returns others of this shape to take their place, or ``None``.
        """
        key = object()
        self._observers = self._observers | {key: observer}
        try:
            yield
        finally:
            self._observers = {other: looking for other, looking in self._observers.items() if other is not key}

    def __call__(self, weights: Float[Tensor, "batch heads query key"]) -> Float[Tensor, "batch heads query key"]:
        """Return the weights as the observers leave them.

        Raises:
            ValueError: an observer returned something else.
        """
        for observer in self._observers.values():
            edited = observer(weights)
            if edited is None:
                continue
            if not isinstance(edited, Tensor) or edited.shape != weights.shape:
                given = f"shape {tuple(edited.shape)}" if isinstance(edited, Tensor) else type(edited).__name__
                raise ValueError(
                    f"an observer must return weights of shape {tuple(weights.shape)}, or None; got {given}"
                )
            weights = edited.to(weights.dtype)
        return weights

    def __getstate__(self) -> dict[str, Any]:
        return {"_observers": {}}  # a copy of the layer, or what is saved of it, is not observed


class MultiHeadAttention(nn.Module):
    r"""Several attentions side by side, each in its own projection of the tokens, their outputs mixed by a last one.

    .. math:: \mathrm{head}_i = \mathrm{attention}(x W^Q_i, m W^K_i, m W^V_i), \qquad
              y = [\mathrm{head}_1; \dots; \mathrm{head}_h] W^O

    with the memory :math:`m = x` in self-attention.

    Args:
        d_model: width of the tokens that enter and leave.
        n_heads: number of heads.
        d_head: width of one head; ``d_model / n_heads`` unless given.
        n_kv_heads: number of key and value heads, each shared by a group of query heads (Ainslie et al., 2023);
            ``n_heads`` unless given.
        bias: whether the four projections add a bias.
        dropout: probability with which a weight is dropped in training.
        scale: factor of the scores; ``1 / sqrt(d_head)`` unless given (T5 uses 1).
        rotary: turns queries and keys by their positions.
        qk_norm_eps: epsilon of a root mean square normalization of each head's queries and keys, with a learned gain
            for each of their channels, before they are turned: scores cannot explode then (Henry et al., 2020, and in
            this form Qwen3). There is none unless it is given.

    Raises:
        ValueError: sizes that are not positive, or not divisible as needed; a dropout outside [0, 1); an epsilon that
            is not positive.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        d_head: int | None = None,
        n_kv_heads: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        scale: float | None = None,
        rotary: Rotation | None = None,
        qk_norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        d_head, n_kv_heads = check_heads(d_model, n_heads, d_head, n_kv_heads, dropout)
        self.d_model, self.n_heads, self.n_kv_heads, self.d_head = d_model, n_heads, n_kv_heads, d_head
        self.dropout, self.scale, self.rotary = dropout, scale, rotary
        self.q_proj = nn.Linear(d_model, n_heads * d_head, bias=bias)
        self.k_proj = nn.Linear(d_model, n_kv_heads * d_head, bias=bias)
        self.v_proj = nn.Linear(d_model, n_kv_heads * d_head, bias=bias)
        self.o_proj = nn.Linear(n_heads * d_head, d_model, bias=bias)
        self.q_norm: nn.RMSNorm | None = None
        self.k_norm: nn.RMSNorm | None = None
        if qk_norm_eps is not None:
            if check_real("qk_norm_eps", qk_norm_eps) <= 0.0:
                raise ValueError(f"qk_norm_eps must be positive; got {qk_norm_eps}")
            self.q_norm = nn.RMSNorm(d_head, eps=qk_norm_eps)
            self.k_norm = nn.RMSNorm(d_head, eps=qk_norm_eps)
        self.tap = AttentionTap()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights from Xavier's uniform distribution (Glorot and Bengio, 2010).

        Biases start at zero, the gains of normalized queries and keys at one.
        """
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.o_proj):
            nn.init.xavier_uniform_(projection.weight)
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)
        for norm in (self.q_norm, self.k_norm):
            if norm is not None:
                norm.reset_parameters()

    def extra_repr(self) -> str:
        return f"d_model={self.d_model}, n_heads={self.n_heads}, n_kv_heads={self.n_kv_heads}, d_head={self.d_head}"

    def project(
        self, memory: Float[Tensor, "batch key d_model"]
    ) -> tuple[Float[Tensor, "batch kv_heads key d_head"], Float[Tensor, "batch kv_heads key d_head"]]:
        """Compute the keys and values of ``memory`` once, for many calls of :meth:`forward`.

        Args:
            memory: ``(batch, key, d_model)``.

        Returns:
            Keys and values, ``(batch, kv_heads, key, d_head)`` each, not yet turned by rotary positions.

        Raises:
            ValueError: a width that does not fit.
        """
        check_shape("memory", memory.shape, "batch seq d_model", d_model=self.d_model)
        # (batch, key, d_model) -> (batch, key, kv_heads * d_head) -> (batch, kv_heads, key, d_head)
        key, value = (split_heads(projection(memory), self.n_kv_heads) for projection in (self.k_proj, self.v_proj))
        return _normalized(key, self.k_norm), value

    def forward(
        self,
        x: Float[Tensor, "batch query d_model"],
        memory: Float[Tensor, "batch key d_model"] | tuple[Tensor, Tensor] | None = None,
        *,
        mask: Bool[Tensor, "..."] | None = None,
        bias: Float[Tensor, "..."] | None = None,
        causal: bool = False,
        positions: Int[Tensor, "..."] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "batch query d_model"]:
        """Let each token of ``x`` gather from ``memory``, or from ``x`` itself where no memory is given.

        Args:
            x: the tokens that ask, ``(batch, query, d_model)``.
            memory: the tokens that answer, ``(batch, key, d_model)``, or their keys and values as :meth:`project`
                returned them; ``None`` for self-attention.
            mask: boolean, ``True`` = may attend; ``(query, key)`` or ``(batch, heads, query, key)`` with axes of size
                1 where it is shared. With a cache, ``key`` counts the cached positions too.
            bias: added to the scores; same shapes as ``mask``.
            causal: no token sees a later one.
            positions: of the tokens in ``x``, ``(query,)`` or ``(batch, query)``, for rotary heads; they continue
                the cache, from 0 without one, unless given.
            cache: the past of this layer; it is extended by ``x``.

        Returns:
            ``(batch, query, d_model)``.

        Raises:
            ValueError: widths or shapes that do not fit, or a cache or causality together with a memory.
        """
        check_shape("x", x.shape, "batch seq d_model", d_model=self.d_model)
        if memory is not None and (cache is not None or causal or self.rotary is not None):
            raise ValueError("a cache, causal=True and rotary positions order one sequence; they exclude a memory")
        if isinstance(memory, tuple):
            self._check_projected(*memory)

        query = _normalized(split_heads(self.q_proj(x), self.n_heads), self.q_norm)  # (batch, heads, query, d_head)
        key, value = memory if isinstance(memory, tuple) else self.project(x if memory is None else memory)
        if self.rotary is not None:
            if positions is None:
                start = 0 if cache is None else cache.length
                positions = torch.arange(start, start + x.size(1), device=x.device)
            query, key = self.rotary(query, positions), self.rotary(key, positions)
        extended = copy.copy(cache)
        if extended is not None:
            key, value = extended.append(key, value)  # (batch, kv_heads, key, d_head), old and new
        output = self._attend(query, key, value, mask, bias, causal)
        result: Tensor = self.o_proj(merge_heads(output))  # (batch, query, d_model)
        if cache is not None and extended is not None:
            cache.adopt(extended)  # last, so that a call that is refused or interrupted leaves the cache as it was
        return result

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, causal: bool
    ) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        grouped = self.n_kv_heads != self.n_heads
        options: dict[str, Any] = {"causal": causal, "scale": self.scale, "dropout": dropout, "grouped": grouped}
        if self.tap.observed:
            return attention(query, key, value, mask, bias, **options, tap=self.tap)[0]
        return fused_attention(query, key, value, mask, bias, **options)

    def _check_projected(self, *parts: Tensor) -> None:
        if any(part.ndim != 4 or part.size(1) != self.n_kv_heads for part in parts):
            raise ValueError(
                f"projected keys and values must have shape (batch, kv_heads={self.n_kv_heads}, key, d_head); "
                f"got {' and '.join(str(tuple(part.shape)) for part in parts)}"
            )


def _normalized(x: Tensor, norm: nn.RMSNorm | None) -> Tensor:
    """Normalize each head's vectors. Under autocast the gains are wider than ``x``, whose type stays."""
    return x if norm is None else norm(x.to(norm.weight.dtype)).to(x.dtype)
