"""A pass of tokens through the transformer on the CPU, fp32, as one compiled call in which all threads take part.

Framework calls are what a step of generation on small models costs, not arithmetic, so there are none: the threads of a
team run the same function, each for its part of every product, and meet between phases. Weights are read where the model
keeps them. A dot product is summed in one order, whatever is computed beside it, so a row's results have the same bits
alone and in any batch. Imported only where used: numba is slow to load.
"""

import math
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_FEATURES = binding.get_host_cpu_features()
_LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx") else 4
_ROWS, _COLUMNS = (2, 4) if _LANES == 8 else (4, 6)  # what the registers hold of a product; AVX has but sixteen
_FEW = 2  # columns of the smaller tile that fills up a range
_SPINS = 2000  # looks at a meeting place before the core is given away
_compiled = njit(nogil=True, cache=True, error_model="numpy")
_fused = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
_summing = njit(  # the order of sums is chosen when they are compiled, once and for all
    nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "nnan", "ninf"}
)

_f32, _i32, _i64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_vector = ir.VectorType(_f32, _LANES)
_yield = types.ExternalFunction("sched_yield", types.int32())


@_compiled
def run(
    part: int, parts: int, sync: np.ndarray, shape: tuple[int, ...], eps: float, layers: np.ndarray, ends: np.ndarray,
    rotary: np.ndarray, keys: np.ndarray, values: np.ndarray, tokens: np.ndarray, slots: np.ndarray, positions: np.ndarray,
    last: np.ndarray, x: np.ndarray, normed: np.ndarray, query: np.ndarray, key: np.ndarray, value: np.ndarray,
    attended: np.ndarray, gate: np.ndarray, up: np.ndarray, scores: np.ndarray, logits: np.ndarray,
    draws: np.ndarray, temperature: float, top_p: float, top_k: int, chosen: np.ndarray, logprobs: np.ndarray,
) -> bool:  # fmt: skip
    """Thread `part` of `parts`: read `tokens` (n) into the cache and draw what follows those at `last`.

    `layers` (layers, 9) and `ends` (3) are addresses of weights; keys and values (layers, slots, length, kv_heads · head_dim).
    False if the others gave up.
    """
    heads, kv_heads, head_dim, dim, ffn, vocab = shape
    count, turn, mine = len(tokens), 0, normed[part]
    embedding = carray(_pointer(ends[0]), (vocab, dim))
    for t in range(part, count, parts):
        x[t, :] = embedding[tokens[t]]
    turn = _meet(sync, parts, turn)
    for layer in range(len(layers)):
        weights = layers[layer]
        for t in range(count):
            _norm(x[t], weights[0], eps, mine[t])
        _product(mine, weights[1], query, count, heads * head_dim, dim, False, part, parts)
        _product(mine, weights[2], key, count, kv_heads * head_dim, dim, False, part, parts)
        _product(mine, weights[3], value, count, kv_heads * head_dim, dim, False, part, parts)
        turn = _meet(sync, parts, turn)
        for t in range(part, count, parts):
            _turn(query[t], rotary[positions[t]], np.float32(1 / math.sqrt(head_dim)), query[t])
            _turn(key[t], rotary[positions[t]], np.float32(1), keys[layer, slots[t], positions[t]])
            values[layer, slots[t], positions[t]] = value[t]
        turn = _meet(sync, parts, turn)
        pieces = 1 if count >= 2 * parts else min(parts, kv_heads)  # of the heads: few tokens are shared out by heads
        for task in range(part, count * pieces, parts):
            t, piece = task // pieces, task % pieces
            _attend(
                query[t], keys[layer, slots[t]], values[layer, slots[t]], positions[t] + 1, kv_heads * piece // pieces,
                kv_heads * (piece + 1) // pieces, heads // kv_heads, head_dim, scores[part], attended[t],
            )  # fmt: skip
        turn = _meet(sync, parts, turn)
        _product(attended, weights[4], x, count, dim, heads * head_dim, True, part, parts)
        turn = _meet(sync, parts, turn)
        for t in range(count):
            _norm(x[t], weights[5], eps, mine[t])
        _product(mine, weights[6], gate, count, ffn, dim, False, part, parts)
        _product(mine, weights[7], up, count, ffn, dim, False, part, parts)
        _swiglu(gate, up, count, _bound(ffn, part, parts), _bound(ffn, part + 1, parts))
        turn = _meet(sync, parts, turn)
        _product(gate, weights[8], x, count, dim, ffn, True, part, parts)
        turn = _meet(sync, parts, turn)
    for row in range(len(last)):
        _norm(x[last[row]], ends[1], eps, mine[row])
    _product(mine, ends[2], logits, len(last), vocab, dim, False, part, parts)
    turn = _meet(sync, parts, turn)
    for row in range(part, len(last), parts):
        chosen[row], logprobs[row] = draw(logits[row], draws[row], temperature, top_p, top_k)
    return turn >= 0


@_compiled
def draw(logits: np.ndarray, uniform: float, temperature: float, top_p: float, top_k: int) -> tuple[int, float]:
    """An id and the log of the probability with which it is drawn; of the whole softmax if greedy. Spoils `logits`."""
    vocab = len(logits)
    highest = _highest(logits)
    if temperature <= 0:
        best = 0
        while logits[best] != highest and best < vocab - 1:
            best += 1
        _exponentials(logits, highest, np.float32(1.0))
        return best, -math.log(_sum(logits, 0, vocab))
    _exponentials(logits, highest, np.float32(1 / temperature))
    total = _sum(logits, 0, vocab)
    if top_p >= 1 and not 0 < top_k < vocab:
        found = _reach(logits, uniform * total)
        return found, math.log(logits[found] / total)
    floor = np.float32((1 - top_p) * total / vocab)  # tokens below have less than 1 - top_p together
    if 0 < top_k < vocab:
        floor = max(floor, np.partition(logits, vocab - top_k)[vocab - top_k])
    candidates = np.sort(logits[logits >= floor])
    kept, inside = 0, 0.0
    while kept == 0 or (kept < len(candidates) and (top_p >= 1 or inside < top_p * total) and (top_k <= 0 or kept < top_k)):
        kept += 1
        inside += np.float64(candidates[len(candidates) - kept])  # the token that crosses top_p stays
    lowest = candidates[len(candidates) - kept]
    equals = kept - (len(candidates) - np.searchsorted(candidates, lowest, side="right"))  # of equals, the lower ids stay
    found, sofar = 0, 0.0
    for id in range(vocab):
        if logits[id] < lowest or (logits[id] == lowest and equals == 0):
            continue
        if logits[id] == lowest:
            equals -= 1
        found = id
        sofar += np.float64(logits[id])
        if sofar > uniform * inside:
            break
    return found, math.log(logits[found] / inside)


@_fused
def _turn(given: np.ndarray, angles: np.ndarray, scale: np.float32, turned: np.ndarray) -> None:
    """Turn the two halves of each head by a position's angles (2, head_dim / 2), times `scale`; in place if they are one."""
    half = angles.shape[1]
    cos, sin = angles[0], angles[1]
    for start in range(0, len(given), 2 * half):
        first, second = given[start : start + half], given[start + half : start + 2 * half]
        to, behind = turned[start : start + half], turned[start + half : start + 2 * half]
        for i in range(half):
            one, other = first[i] * scale, second[i] * scale
            to[i] = one * cos[i] - other * sin[i]
            behind[i] = other * cos[i] + one * sin[i]


@_fused
def _attend(
    query: np.ndarray, keys: np.ndarray, values: np.ndarray, length: int, first: int, stop: int, group: int, head_dim: int,
    scores: np.ndarray, attended: np.ndarray,
) -> None:  # fmt: skip
    """Attention of a token's query heads over `length` keys and values (capacity, kv_heads · head_dim), one pass over each.

    Of kv heads [first, stop), each shared by `group` query heads. Memory is read in the order in which it lies.
    """
    capacity, width = keys.shape
    q, k, s = query.ctypes.data, keys.ctypes.data, scores.ctypes.data
    p = 0
    while p < length:
        until = min(p + _COLUMNS, length)
        _fetch_rows(k + 4 * (p + 2 * _COLUMNS) * width, _COLUMNS * width)
        for head in range(first, stop):
            at = head * group
            _columns(
                q + 4 * at * head_dim, head_dim, k + 4 * head * head_dim, width, s + 4 * at * capacity, capacity, group, p, until,
                head_dim, False,
            )  # fmt: skip
        p = until
    for each in range(first * group, stop * group):
        row = scores[each * capacity : each * capacity + length]
        _exponentials(row, _highest(row), np.float32(1.0))
        _scale(row, np.float32(1 / _sum(row, 0, length)))
        attended[each * head_dim : (each + 1) * head_dim] = 0
    v, out, p = values.ctypes.data, attended.ctypes.data, 0
    while p < length:
        _fetch_rows(v + 4 * (p + 12) * width, 4 * width)
        for each in range(first * group, stop * group):
            weights, place = s + 4 * (each * capacity + p), v + 4 * (p * width + each // group * head_dim)
            if p + 4 <= length:
                _weigh(4, weights, place, width, out + 4 * each * head_dim, head_dim)
            else:
                for i in range(length - p):
                    _weigh(1, weights + 4 * i, place + 4 * i * width, width, out + 4 * each * head_dim, head_dim)
        p += 4


@_compiled
def _fetch_rows(address: int, numbers: int) -> None:
    for line in range(0, 4 * numbers, 64):
        _fetch(address + line)


@_compiled
def _scale(row: np.ndarray, factor: np.float32) -> None:
    for i in range(len(row)):
        row[i] *= factor


@_compiled
def _product(
    x: np.ndarray, weight: int, y: np.ndarray, rows: int, width: int, depth: int, add: bool, part: int, parts: int
) -> None:
    """This thread's columns of y = x @ weight.T, or y += …; weight (width, depth) at an address, x and y contiguous rows."""
    first, stop = _bound(width, part, parts), _bound(width, part + 1, parts)
    _columns(x.ctypes.data, depth, weight, depth, y.ctypes.data, width, rows, first, stop, depth, add)


@_compiled
def _columns(
    x: int, x_width: int, weight: int, w_width: int, y: int, y_width: int, rows: int, first: int, stop: int, depth: int, add: bool
) -> None:
    """Columns [first, stop) of a product, all by addresses, a tile of rows and columns at a time; widths from row to row."""
    n = first
    while n + _COLUMNS <= stop:
        w, m = weight + 4 * n * w_width, 0
        ahead, lines = w + 4 * _COLUMNS * w_width, (_COLUMNS * w_width * _ROWS // 16) // max(rows, _ROWS) + 1
        while m + _ROWS <= rows:
            for _ in range(lines):  # of the next columns' weights, which memory would else give too late
                _fetch(ahead)
                ahead += 64
            _tile(_ROWS, _COLUMNS, x + 4 * m * x_width, x_width, w, w_width, y + 4 * (m * y_width + n), y_width, depth, add)
            m += _ROWS
        while m < rows:
            _tile(1, _COLUMNS, x + 4 * m * x_width, x_width, w, w_width, y + 4 * (m * y_width + n), y_width, depth, add)
            m += 1
        n += _COLUMNS
    while n + _FEW <= stop:
        w, m = weight + 4 * n * w_width, 0
        while m + _ROWS <= rows:
            _tile(_ROWS, _FEW, x + 4 * m * x_width, x_width, w, w_width, y + 4 * (m * y_width + n), y_width, depth, add)
            m += _ROWS
        while m < rows:
            _tile(1, _FEW, x + 4 * m * x_width, x_width, w, w_width, y + 4 * (m * y_width + n), y_width, depth, add)
            m += 1
        n += _FEW
    while n < stop:
        for m in range(rows):
            _tile(
                1,
                1,
                x + 4 * m * x_width,
                x_width,
                weight + 4 * n * w_width,
                w_width,
                y + 4 * (m * y_width + n),
                y_width,
                depth,
                add,
            )
        n += 1


@_compiled
def _bound(width: int, part: int, parts: int) -> int:
    """Where the columns of a thread begin: at a whole tile."""
    return width if part == parts else width * part // parts // _COLUMNS * _COLUMNS


@_summing
def _norm(x: np.ndarray, weight: int, eps: float, y: np.ndarray) -> None:
    scales, squares = carray(_pointer(weight), len(x)), np.float32(0)
    for i in range(len(x)):
        squares += x[i] * x[i]
    factor = np.float32(1 / math.sqrt(squares / len(x) + eps))
    for i in range(len(x)):
        y[i] = x[i] * factor * scales[i]


@_fused
def _swiglu(gate: np.ndarray, up: np.ndarray, rows: int, first: int, stop: int) -> None:
    """gate = silu(gate) · up."""
    for t in range(rows):
        g, u = gate[t, first:stop], up[t, first:stop]
        for i in range(len(g)):
            g[i] = g[i] / (np.float32(1) + _exp(-g[i])) * u[i]


@_fused
def _exponentials(row: np.ndarray, highest: np.float32, scale: np.float32) -> None:
    for i in range(len(row)):
        row[i] = _exp((row[i] - highest) * scale)


@_compiled
def _exp(x: np.float32) -> np.float32:
    """e^x within 2 units in the last place (Cephes' polynomial), without a branch so that loops over it are vectorised."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    power = np.float32(math.floor(x * np.float32(1.44269504) + np.float32(0.5)))
    x = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    sum = np.float32(1.9875691500e-4)
    sum = sum * x + np.float32(1.3981999507e-3)
    sum = sum * x + np.float32(8.3334519073e-3)
    sum = sum * x + np.float32(4.1665795894e-2)
    sum = sum * x + np.float32(1.6666665459e-1)
    sum = sum * x + np.float32(0.5)
    sum = sum * x * x + x + np.float32(1)
    return sum * np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)


@_summing
def _highest(row: np.ndarray) -> np.float32:
    found = row[0]
    for i in range(len(row)):
        found = max(found, row[i])
    return found


@_summing
def _sum(row: np.ndarray, first: int, stop: int) -> float:
    found = 0.0
    for i in range(first, stop):
        found += np.float64(row[i])
    return found


@_compiled
def _reach(weights: np.ndarray, target: float) -> int:
    """The first index at which the running sum exceeds `target`; 256 weights at a stride, then one by one."""
    sofar, at = 0.0, 0
    while at + 256 < len(weights):
        stride = _sum(weights, at, at + 256)
        if sofar + stride > target:
            break
        sofar += stride
        at += 256
    while at < len(weights) - 1:
        sofar += np.float64(weights[at])
        if sofar > target:
            break
        at += 1
    return at


@_compiled
def _meet(sync: np.ndarray, parts: int, turn: int) -> int:
    """Wait for all threads, for the `turn`-th time; returns the next turn, -1 once somebody has called it off.

    `sync[0]` counts arrivals of one call; `sync[8]`, on another cache line, is not 0 once it is called off.
    """
    if parts == 1 or turn < 0:
        return turn
    place, looks = sync.ctypes.data, 0
    _arrive(place)
    while _look(place) < (turn + 1) * parts:
        looks += 1
        if looks > _SPINS:
            if _look(place + 64):
                return -1
            _yield()
    return turn + 1


@intrinsic(prefer_literal=True)
def _tile(
    typing: Any, rows: Any, columns: Any, x: Any, x_width: Any, w: Any, w_width: Any, y: Any, y_width: Any, depth: Any, add: Any
) -> Any:
    """`rows` × `columns` dot products of length `depth`, sums in registers: y = x @ w.T, or y += x @ w.T."""
    if not (isinstance(rows, types.IntegerLiteral) and isinstance(columns, types.IntegerLiteral)):
        return None
    tall, wide = rows.literal_value, columns.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, x, x_width, w, w_width, y, y_width, depth, add = arguments
        xs = [_plus(builder, x, builder.mul(x_width, _i64(i))) for i in range(tall)]
        ws = [_plus(builder, w, builder.mul(w_width, _i64(j))) for j in range(wide)]
        pairs = [(i, j) for i in range(tall) for j in range(wide)]
        sums = {pair: cgutils.alloca_once_value(builder, ir.Constant(_vector, [0.0] * _LANES)) for pair in pairs}
        whole = builder.sub(depth, builder.urem(depth, _i64(_LANES)))
        with cgutils.for_range_slice(builder, _i64(0), whole, _i64(_LANES), _i64) as (at, _):
            _multiply(builder, xs, ws, sums, at, _vector)
        singles = {}
        for pair in pairs:  # lanes are added in one order for every shape of tile
            singles[pair] = cgutils.alloca_once_value(builder, _lanes(builder, builder.load(sums[pair])))
        with cgutils.for_range_slice(builder, whole, depth, _i64(1), _i64) as (at, _):
            _multiply(builder, xs, ws, singles, at, _f32)
        for i, j in pairs:
            place = builder.inttoptr(_plus(builder, y, builder.add(builder.mul(y_width, _i64(i)), _i64(j))), _f32.as_pointer())
            before = builder.select(add, builder.load(place), _f32(0.0))
            builder.store(builder.fadd(before, builder.load(singles[i, j])), place)
        return context.get_dummy_value()

    int64 = types.int64
    return types.void(rows, columns, int64, int64, int64, int64, int64, int64, int64, types.boolean), generate


@intrinsic(prefer_literal=True)
def _weigh(typing: Any, count: Any, weights: Any, values: Any, width: Any, out: Any, depth: Any) -> Any:
    """out (depth) += the sum of `count` rows of values, `width` apart, each times its weight."""
    if not isinstance(count, types.IntegerLiteral):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, weights, values, width, out, depth = arguments
        factors = [_load(builder, weights, _i64(i), _f32) for i in range(count.literal_value)]
        rows = [_plus(builder, values, builder.mul(width, _i64(i))) for i in range(count.literal_value)]
        whole = builder.sub(depth, builder.urem(depth, _i64(_LANES)))
        for kind, first, stop in ((_vector, _i64(0), whole), (_f32, whole, depth)):
            fma = _fma(builder, kind)
            spread = [_spread(builder, factor) if kind is _vector else factor for factor in factors]
            with cgutils.for_range_slice(builder, first, stop, _i64(1 if kind is _f32 else _LANES), _i64) as (at, _):
                sum = _load(builder, out, at, kind)
                for factor, row in zip(spread, rows, strict=True):
                    sum = builder.call(fma, [factor, _load(builder, row, at, kind), sum])
                builder.store(sum, builder.inttoptr(_plus(builder, out, at), kind.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(count, *[types.int64] * 5), generate


def _multiply(builder: Any, xs: list[Any], ws: list[Any], sums: dict[tuple[int, int], Any], at: Any, kind: Any) -> None:
    """sums[i, j] += xs[i][at] · ws[j][at], a vector or one number."""
    fma = _fma(builder, kind)
    weights = [_load(builder, place, at, kind) for place in ws]
    for i, place in enumerate(xs):
        number = _load(builder, place, at, kind)
        for j, weight in enumerate(weights):
            builder.store(builder.call(fma, [number, weight, builder.load(sums[i, j])]), sums[i, j])


def _lanes(builder: Any, vector: Any) -> Any:
    """The sum of a vector's lanes."""
    name = f"llvm.vector.reduce.fadd.{_suffix(_vector)}"
    reduce = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_f32, [_f32, _vector]), name)
    return builder.call(reduce, [_f32(0.0), vector], fastmath=("reassoc", "nsz"))


def _spread(builder: Any, number: Any) -> Any:
    """A vector of one number."""
    one = builder.insert_element(ir.Constant(_vector, ir.Undefined), number, _i32(0))
    return builder.shuffle_vector(one, ir.Constant(_vector, ir.Undefined), ir.Constant(ir.VectorType(_i32, _LANES), [0] * _LANES))


def _fma(builder: Any, kind: Any) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.{_suffix(kind)}")


def _suffix(kind: Any) -> str:
    return "f32" if kind is _f32 else f"v{_LANES}f32"


def _plus(builder: Any, address: Any, elements: Any) -> Any:
    return builder.add(address, builder.mul(elements, _i64(4)))


def _load(builder: Any, address: Any, at: Any, kind: Any) -> Any:
    return builder.load(builder.inttoptr(_plus(builder, address, at), kind.as_pointer()), align=4)


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """An address as a pointer to fp32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _f32.as_pointer())

    return types.CPointer(types.float32)(types.int64), generate


@intrinsic
def _fetch(typing: Any, address: Any) -> Any:
    """Have the memory at an address brought near."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        fetch = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer, _i32, _i32, _i32]), "llvm.prefetch.p0"
        )
        builder.call(fetch, [builder.inttoptr(arguments[0], pointer), _i32(0), _i32(3), _i32(1)])  # to read, near, data
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def _arrive(typing: Any, address: Any) -> Any:
    """Add one to the integer at an address, seen by all threads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", builder.inttoptr(arguments[0], _i64.as_pointer()), _i64(1), "seq_cst")

    return types.int64(types.int64), generate


@intrinsic
def _look(typing: Any, address: Any) -> Any:
    """The integer at an address, as other threads have left it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], _i64.as_pointer()), "seq_cst", 8)

    return types.int64(types.int64), generate
