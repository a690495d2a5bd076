"""What the papers say, as float64 NumPy loops: slow, plain, and sharing no line with the library.

Everything here takes and gives NumPy arrays. Sources stand at each function.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def allowed(shape: tuple[int, ...], mask: NDArray[np.bool_] | None, causal: bool) -> NDArray[np.bool_]:
    """Which query may see which key, for scores of ``shape``; the last query stands at the last key."""
    given = np.broadcast_to(True if mask is None else mask, shape)
    result = np.zeros(shape, dtype=bool)
    q_len, k_len = shape[-2:]
    for index in np.ndindex(*shape):
        query, key = index[-2:]
        stands_at = query + (k_len - q_len)
        result[index] = given[index] and (not causal or key <= stands_at)
    return result


def attention(
    query: Array,
    key: Array,
    value: Array,
    mask: NDArray[np.bool_] | None = None,
    bias: Array | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array]:
    """Vaswani et al. (2017), equation 1, one query after the other. A query that sees nothing gets zeros.

    A bias of -inf hides its key. The largest number that a row of the bias shows is subtracted from it first, which
    changes nothing but the rounding: -1e300 + score would be -1e300 in float64, too.
    """
    shape = (*query.shape[:-1], key.shape[-2])
    sees = allowed(shape, mask, causal)
    added = np.broadcast_to(0.0 if bias is None else bias, shape)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    weights = np.zeros(shape)
    output = np.zeros((*query.shape[:-1], value.shape[-1]))
    for place in np.ndindex(*query.shape[:-1]):
        *batch, _ = place
        keys = [j for j in range(shape[-1]) if sees[(*place, j)] and added[(*place, j)] > -math.inf]
        if not keys:
            continue
        largest = max(float(added[(*place, j)]) for j in keys)
        leveled = {j: float(added[(*place, j)]) - largest for j in keys}
        scores = [factor * float(np.dot(query[place], key[(*batch, j)])) + leveled[j] for j in keys]
        exponentials = [math.exp(score - max(scores)) for score in scores]
        for j, exponential in zip(keys, exponentials, strict=True):
            weights[(*place, j)] = exponential / sum(exponentials)
            output[place] += weights[(*place, j)] * value[(*batch, j)]
    return output, weights


def attention_gradients(
    upstream: Array,
    query: Array,
    key: Array,
    value: Array,
    mask: NDArray[np.bool_] | None = None,
    bias: Array | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[Array, Array, Array, Array | None]:
    """The gradients of ``(output * upstream).sum()`` by query, key, value and bias, derived by hand.

    With w the weights, the softmax gives ds_j = w_j (dw_j - sum_k w_k dw_k).
    """
    _, weights = attention(query, key, value, mask, bias, causal=causal, scale=scale)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    d_query, d_key, d_value = np.zeros_like(query), np.zeros_like(key), np.zeros_like(value)
    d_scores = np.zeros_like(weights)
    for place in np.ndindex(*query.shape[:-1]):
        *batch, _ = place
        row = weights[place]
        d_row = [float(np.dot(upstream[place], value[(*batch, j)])) for j in range(len(row))]
        mean = sum(w * d for w, d in zip(row, d_row, strict=True))
        for j, weight in enumerate(row):
            d_score = weight * (d_row[j] - mean)
            d_scores[(*place, j)] = d_score
            d_value[(*batch, j)] += weight * upstream[place]
            d_query[place] += factor * d_score * key[(*batch, j)]
            d_key[(*batch, j)] += factor * d_score * query[place]
    return d_query, d_key, d_value, None if bias is None else sum_to(d_scores, bias.shape)


def sum_to(full: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of a tensor of ``shape`` that was broadcast to that of ``full``."""
    result = np.zeros(shape)
    for index in np.ndindex(*full.shape):
        tail = index[len(index) - len(shape) :]
        result[tuple(0 if size == 1 else i for i, size in zip(tail, shape, strict=True))] += full[index]
    return result


def multi_head(
    x: Array,
    memory: Array,
    parameters: Mapping[str, Array],
    *,
    n_heads: int,
    n_kv_heads: int,
    mask: NDArray[np.bool_] | None = None,
    bias: Array | None = None,
    causal: bool = False,
    scale: float | None = None,
    rotate: Callable[[Array], Array] | None = None,
    qk_norm_eps: float | None = None,
) -> tuple[Array, Array]:
    """Vaswani et al. (2017), section 3.2.2, and Ainslie et al. (2023) for shared key heads; one head after the other.

    Args:
        x: (batch, query, d_model).
        memory: (batch, key, d_model).
        parameters: ``{q,k,v,o}_proj.weight`` of shape (out, in), and ``….bias`` where there are biases.
        mask: broadcastable to (batch, heads, query, key), of that rank or (query, key).
        bias: likewise.
        rotate: turns one head's (seq, d_head) by the positions.
        qk_norm_eps: of the normalization before that, whose gains are ``{q,k}_norm.weight`` of shape (d_head,).

    Returns:
        The output (batch, query, d_model) and the weights (batch, heads, query, key).
    """
    batch, q_len, _ = x.shape
    k_len = memory.shape[1]
    d_head = parameters["q_proj.weight"].shape[0] // n_heads
    scores_shape = (batch, n_heads, q_len, k_len)
    masks = np.broadcast_to(True if mask is None else mask, scores_shape)
    biases = np.broadcast_to(0.0 if bias is None else bias, scores_shape)

    def project(name: str, token: Array) -> Array:
        projected: Array = parameters[f"{name}.weight"] @ token
        return projected + parameters[f"{name}.bias"] if f"{name}.bias" in parameters else projected

    def head_of(name: str, tokens: Array, head: int) -> Array:
        piece = slice(head * d_head, (head + 1) * d_head)
        rows = np.stack([project(name, token)[piece] for token in tokens])
        if qk_norm_eps is not None and name != "v_proj":
            for row in rows:
                row *= parameters[f"{name[0]}_norm.weight"] / np.sqrt(np.mean(row**2) + qk_norm_eps)
        return rotate(rows) if rotate is not None and name != "v_proj" else rows

    output = np.zeros_like(x)
    weights = np.zeros(scores_shape)
    for b in range(batch):
        joined = np.zeros((q_len, n_heads * d_head))
        for head in range(n_heads):
            shared = head * n_kv_heads // n_heads  # the first group of query heads asks the first key head, and so on
            found, weights[b, head] = attention(
                head_of("q_proj", x[b], head),
                head_of("k_proj", memory[b], shared),
                head_of("v_proj", memory[b], shared),
                masks[b, head],
                biases[b, head],
                causal=causal,
                scale=scale,
            )
            joined[:, head * d_head : (head + 1) * d_head] = found
        for i in range(q_len):
            output[b, i] = project("o_proj", joined[i])
    return output, weights


def sinusoidal(length: int, d_model: int) -> Array:
    """Vaswani et al. (2017), section 3.5, number by number."""
    table = np.zeros((length, d_model))
    for position in range(length):
        for i in range(d_model // 2):
            angle = position / 10000 ** (2 * i / d_model)
            table[position, 2 * i] = math.sin(angle)
            table[position, 2 * i + 1] = math.cos(angle)
    return table


def rotary(x: Array, positions: NDArray[np.int64], *, base: float = 10000.0, interleaved: bool = True) -> Array:
    """Su et al. (2021), equation 12, as they first put it: a product of complex numbers. ``x`` is (seq, width)."""
    seq, width = x.shape
    result = np.zeros_like(x)
    for row in range(seq):
        for i in range(width // 2):
            first, second = (2 * i, 2 * i + 1) if interleaved else (i, i + width // 2)
            angle = int(positions[row]) * base ** (-2 * i / width)
            turned = complex(x[row, first], x[row, second]) * complex(math.cos(angle), math.sin(angle))
            result[row, first], result[row, second] = turned.real, turned.imag
    return result


def t5_bucket(distance: int, *, bidirectional: bool, n_buckets: int, max_distance: int) -> int:
    """Raffel et al. (2020), section 2.1: exact buckets, then buckets whose bounds grow geometrically up to the maximum.

    In whole numbers only. The t-th wide bucket begins at exact * (max_distance / exact) ** (t / wide); both sides are
    raised to the power ``wide`` to compare without rounding.
    """
    side = n_buckets // 2 if bidirectional else n_buckets
    first = side if bidirectional and distance > 0 else 0
    steps = abs(distance) if bidirectional else max(-distance, 0)
    exact = side // 2
    wide = side - exact
    if steps < exact:
        return first + steps
    t = 0
    while t < wide - 1 and steps**wide * exact ** (t + 1) >= max_distance ** (t + 1) * exact**wide:
        t += 1
    return first + exact + t


def relative_bias(table: Array, q_len: int, k_len: int, *, bidirectional: bool, max_distance: int) -> Array:
    """T5's bias, (heads, query, key); ``table`` is (buckets, heads); the last query stands at the last key."""
    n_buckets, n_heads = table.shape
    result = np.zeros((n_heads, q_len, k_len))
    for head, i, j in np.ndindex(n_heads, q_len, k_len):
        distance = j - (i + k_len - q_len)
        bucket = t5_bucket(distance, bidirectional=bidirectional, n_buckets=n_buckets, max_distance=max_distance)
        result[head, i, j] = table[bucket, head]
    return result


def alibi_slopes(n_heads: int) -> list[float]:
    """Press et al. (2022), section 3: from 2^(-8/n), each slope that times the one before.

    Where n is no power of two: the slopes of the power below, then the 1st, 3rd, 5th, … of twice that power.
    """
    power = 1
    while 2 * power <= n_heads:
        power *= 2
    if power == n_heads:
        slopes = [2 ** (-8 / n_heads)]
        while len(slopes) < n_heads:
            slopes.append(slopes[-1] * slopes[0])
        return slopes
    return alibi_slopes(power) + alibi_slopes(2 * power)[::2][: n_heads - power]


def alibi(n_heads: int, q_len: int, k_len: int) -> Array:
    """Press et al. (2022), figure 3, (heads, query, key); the last query stands at the last key."""
    result = np.zeros((n_heads, q_len, k_len))
    for (head, i, j), slope in ((index, alibi_slopes(n_heads)[index[0]]) for index in np.ndindex(*result.shape)):
        result[head, i, j] = -slope * abs(j - (i + k_len - q_len))
    return result
