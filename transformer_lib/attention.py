"""Scaled dot-product attention: the masks, the definition, and the same function through fused kernels.

Source: Vaswani et al. (2017), *Attention Is All You Need*, section 3.2.1, equation 1.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def padding_mask(token_ids: Int[Tensor, "batch key"], pad_id: int) -> Bool[Tensor, "batch 1 1 key"]:
    """Mask out the padding that makes the sequences of a batch equally long.

    Args:
        token_ids: the tokens' numbers, ``(batch, key)``, an integer type.
        pad_id: the number that stands for "no token here".

    Returns:
        ``(batch, 1, 1, key)``, ``True`` where a token may be attended; it serves every head and every query.

    Raises:
        TypeError: ``token_ids`` is not of an integer type.
        ValueError: ``token_ids`` is not of rank 2.
    """
    if token_ids.dtype.is_floating_point or token_ids.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise TypeError(f"token_ids must be integers; got {token_ids.dtype}")
    if token_ids.ndim != 2:
        raise ValueError(f"token_ids must have shape (batch, key); got {tuple(token_ids.shape)}")
    return (token_ids != pad_id)[:, None, None, :]  # (batch, key) -> (batch, 1, 1, key)


def causal_mask(q_len: int, k_len: int, device: torch.device | str | None = None) -> Bool[Tensor, "query key"]:
    """Let each query attend to its own position and to those before it, never to the future.

    The last query stands at the last key (*bottom-right* alignment). So with ``q_len < k_len`` the queries are the
    newest positions, and the keys before them a past that is already computed, as with a cache.

    Args:
        q_len: number of queries.
        k_len: number of keys.
        device: where to make the mask.

    Returns:
        ``(query, key)``, ``True`` on and below the diagonal.

    Raises:
        ValueError: a length below 0.
    """
    if q_len < 0 or k_len < 0:
        raise ValueError(f"q_len and k_len must be at least 0; got {q_len} and {k_len}")
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


def attention(
    query: Float[Tensor, "*batch query d_head"],
    key: Float[Tensor, "*shared key d_head"],
    value: Float[Tensor, "*shared key d_value"],
    mask: Bool[Tensor, "..."] | None = None,
    bias: Float[Tensor, "..."] | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    grouped: bool = False,
    tap: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, "*batch query d_value"], Float[Tensor, "*batch query key"]]:
    r"""Scaled dot-product attention, written out: the definition that everything else must equal.

    .. math:: \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_\mathrm{head}}} + B\right) V

    The scores and the softmax are computed in float32 at least, so float16 neither overflows nor rounds the sum. A
    query that may attend to nothing gets zeros, and finite gradients. Masked positions still have to hold finite
    numbers: a weight of zero does not silence a NaN.

    Args:
        query: what each position asks for, ``(*batch, query, d_head)``.
        key: what each position offers to be found by, ``(*batch, key, d_head)``.
        value: what each position gives, ``(*batch, key, d_value)``.
        mask: boolean, ``True`` = may attend; either ``(query, key)``, or of the scores' rank
            ``(*batch, query, key)`` with axes of size 1 where it is shared.
        bias: added to the scaled scores; same shapes as ``mask``, any floating-point type. However large its numbers,
            only their differences within a row count. Minus infinity hides a key as the mask does; infinity and NaN
            make NaN of their row, unless the mask hides them.
        causal: each query sees no key after its own position, the last query standing at the last key; it joins
            ``mask`` by *and*.
        scale: factor of the scores; ``1 / sqrt(d_head)`` unless given.
        dropout: probability with which a weight is zeroed before it meets the values. The caller passes 0 in
            evaluation.
        grouped: ``key`` and ``value`` may have fewer heads (the axis before the length) than ``query``: query heads
            0 to g - 1 share their head 0, the next g share head 1, and so on (Ainslie et al., 2023).
        tap: what the weights pass through before dropout and the values; what it returns takes their place.

    Returns:
        The output ``(*batch, query, d_value)``, and the weights ``(*batch, query, key)`` as they were before dropout.
        Every row of weights sums to 1, or to 0 where a query may attend to nothing.

    Raises:
        TypeError: an input is not a floating-point tensor, their types differ, or the mask is not boolean.
        ValueError: shapes that do not fit together, or a dropout outside [0, 1).
    """
    _check(query, key, value, mask, bias, dropout, grouped)
    mask = _with_causal(mask, causal, query, key)
    wide = torch.promote_types(query.dtype, torch.float32)
    scale = 1.0 / math.sqrt(query.size(-1)) if scale is None else scale

    # (*batch, query, d_head) @ (*batch, d_head, key) -> (*batch, query, key). The query is scaled before the product,
    # so that autocast, which runs the product in half precision, cannot overflow where the scaled scores do not.
    scores = _product(query.to(wide) * scale, key.to(wide).transpose(-2, -1)).to(wide)
    if bias is not None:
        scores = scores + _leveled(bias.to(torch.promote_types(bias.dtype, wide)), mask)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    # Where all scores of a row are -inf, the softmax would be 0 / 0: that query attends to nothing.
    nothing = (scores == -math.inf).all(dim=-1, keepdim=True)
    weights = scores.masked_fill(nothing, 0.0).softmax(dim=-1).masked_fill(nothing, 0.0).to(value.dtype)
    if tap is not None:
        weights = tap(weights)

    output = _product(F.dropout(weights, dropout), value)  # (*batch, query, key) @ (*batch, key, d_value)
    return output, weights


def fused_attention(
    query: Float[Tensor, "*batch query d_head"],
    key: Float[Tensor, "*shared key d_head"],
    value: Float[Tensor, "*shared key d_value"],
    mask: Bool[Tensor, "..."] | None = None,
    bias: Float[Tensor, "..."] | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
    grouped: bool = False,
) -> Float[Tensor, "*batch query d_value"]:
    """The output of :func:`attention` through PyTorch's fused kernels, which never store the weights.

    Arguments and errors are those of :func:`attention`; tests prove both equal, in outputs and gradients. The kernels
    (FlashAttention and its like) need memory proportional to the length, where the definition needs its square.

    Returns:
        ``(*batch, query, d_value)``.
    """
    _check(query, key, value, mask, bias, dropout, grouped)
    q_len, k_len = query.size(-2), key.size(-2)
    shared = query.shape[:-2] != key.shape[:-2]
    if mask is None and bias is None and (not causal or q_len == k_len or q_len == 1):
        # A single query is the last one and sees every key; `is_causal` would align it with the first key instead.
        is_causal = causal and q_len > 1
        return F.scaled_dot_product_attention(
            query, key, value, None, dropout, is_causal, scale=scale, enable_gqa=shared
        )

    # Whether a row without any key gives zeros or NaN depends on the kernel. So such a row attends everywhere, and its
    # output is then set to zero, which also cuts its gradient.
    mask = _with_causal(mask, causal, query, key)
    if bias is None:
        assert mask is not None
        nothing = ~mask.any(dim=-1, keepdim=True)
        attn_mask = mask | nothing
    else:
        # On the CPU the kernels add float32 to scores of half precision; on other devices they want one dtype.
        wide = torch.promote_types(query.dtype, torch.float32)
        attn_mask = _leveled(bias.to(torch.promote_types(bias.dtype, wide)), mask)
        attn_mask = attn_mask.to(wide if query.device.type == "cpu" else query.dtype)
        if mask is not None:
            attn_mask = attn_mask.masked_fill(~mask, -math.inf)
        nothing = (attn_mask == -math.inf).all(dim=-1, keepdim=True)
        attn_mask = attn_mask.masked_fill(nothing, 0.0)
    attn_mask = attn_mask[(None,) * (query.ndim - attn_mask.ndim)]  # the kernels ask for the scores' rank
    output = F.scaled_dot_product_attention(query, key, value, attn_mask, dropout, scale=scale, enable_gqa=shared)
    return output.masked_fill(nothing, 0.0)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right``, where a group of neighbouring heads of ``left`` may share one head of ``right``."""
    if left.shape[:-2] == right.shape[:-2]:
        return left @ right
    # The group's rows line up before the head that they share, which is therefore never copied:
    # (*batch, heads, query, n) -> (*batch, kv_heads, group * query, n), and back
    group, rows = left.size(-3) // right.size(-3), left.size(-2)
    product = left.unflatten(-3, (right.size(-3), group)).flatten(-3, -2) @ right
    result: Tensor = product.unflatten(-2, (group, rows)).flatten(-4, -3)
    return result


def _leveled(bias: Tensor, mask: Tensor | None) -> Tensor:
    """Move each row of the bias until the largest number that the mask shows is 0.

    The softmax cannot tell. But beside -1e9 a score would lose all its digits, and in half precision -1e5 is infinite.
    """
    if not bias.numel():
        return bias
    shown = bias.detach() if mask is None else bias.detach().masked_fill(~mask, -math.inf)
    largest = shown.amax(dim=-1, keepdim=True)
    return bias - largest.clamp(min=torch.finfo(bias.dtype).min)  # not -inf: a row may hide all its keys


def _with_causal(mask: Tensor | None, causal: bool, query: Tensor, key: Tensor) -> Tensor | None:
    if not causal:
        return mask
    triangle = causal_mask(query.size(-2), key.size(-2), query.device)
    return triangle if mask is None else mask & triangle


def _check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    dropout: float,
    grouped: bool,
) -> None:
    """Raise the error that names what was given and what was expected."""
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            given = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a floating-point tensor; got {given}")
        if tensor.ndim < 2:
            raise ValueError(f"{name} must have shape (..., length, width); got {tuple(tensor.shape)}")
    if not query.dtype == key.dtype == value.dtype:
        raise TypeError(f"query, key and value must share a dtype; got {query.dtype}, {key.dtype} and {value.dtype}")
    if grouped and query.ndim == key.ndim == value.ndim > 2:
        n_heads, n_kv_heads = query.size(-3), key.size(-3)
        if n_kv_heads < 1 or n_heads % n_kv_heads:
            raise ValueError(f"the heads of query must be divisible by those of key; got {n_heads} and {n_kv_heads}")
        agree = query.shape[:-3] == key.shape[:-3] and key.shape[:-2] == value.shape[:-2]
    else:
        agree = query.shape[:-2] == key.shape[:-2] == value.shape[:-2]
    if not agree:
        raise ValueError(
            "query, key and value must agree in all axes but the last two; "
            f"got {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        )
    if query.size(-1) != key.size(-1):
        raise ValueError(f"query and key must have the same d_head; got {query.size(-1)} and {key.size(-1)}")
    if query.size(-1) < 1:
        raise ValueError("d_head must be at least 1; got 0")
    if key.size(-2) != value.size(-2):
        raise ValueError(f"key and value must have the same length; got {key.size(-2)} and {value.size(-2)}")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout must be in [0, 1); got {dropout}")

    scores_shape = (*query.shape[:-1], key.size(-2))
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            given = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(
                f"mask must be a boolean tensor, True = may attend; got {given}. "
                "Numbers that are added to the scores go into `bias`"
            )
        _check_scores_like("mask", mask, scores_shape)
    if bias is not None:
        if not isinstance(bias, Tensor) or not bias.is_floating_point():
            given = bias.dtype if isinstance(bias, Tensor) else type(bias).__name__
            raise TypeError(f"bias must be a floating-point tensor; got {given}. True/False goes into `mask`")
        _check_scores_like("bias", bias, scores_shape)


def _check_scores_like(name: str, tensor: Tensor, scores_shape: tuple[int, ...]) -> None:
    shape = tuple(tensor.shape)
    if len(shape) not in (2, len(scores_shape)):
        # A (batch, query, key) mask for (batch, heads, query, key) scores would be read as (heads, query, key)
        # whenever batch == heads, so an intermediate rank is refused even where it would broadcast.
        raise ValueError(
            f"{name} must have rank 2 (query, key) or the scores' rank {len(scores_shape)}, {scores_shape}; got shape "
            f"{shape}. Say which axes are shared, e.g. {name}[:, None] for all heads"
        )
    if any(size not in (1, full) for size, full in zip(reversed(shape), reversed(scores_shape), strict=False)):
        raise ValueError(f"{name} must be broadcastable to the scores {scores_shape}; got shape {shape}")
