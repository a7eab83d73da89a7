"""The mixture, materialised: tokenised documents of all sources, ordered and packed for training (L1 §2.1, Table 1).

Shares are shares of tokens and are exact to the token: every source gives its part of the stream, whole passes first
(each in an order of its own, by a hash of seed, epoch and id) and then as much of one more pass as is missing, its
last document cut. Sources are interleaved by how much of each has been used, so every stretch of training has the
shares of the whole; a document longer than `piece_tokens` is laid down in pieces for the same reason.
`plan_mixture` holds the index of documents (some 100 bytes each at most), never their tokens. Tokens move once, in an external
shuffle: map `scatter` (a tokenised shard, cut by the row file each part goes to) → reduce `gather` (one row file).
The result depends on the documents, not on their shards.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from data.documents import CorpusError
from data.funnel import Funnel
from data.packing import empty_rows, pack, write_rows
from data.section import Section
from data.tokenise import read_tokens, token_type

_UNIT = np.dtype([("row", "<u4"), ("offset", "<u4"), ("length", "<u4"), ("start", "<u8")])  # of a shard: where a piece goes
_BLOCK_TOKENS = 1 << 20  # tokens that `scatter` lays down at a time
_MOST_SHUFFLED, _SHUFFLES = 200_000, 20  # pieces up to which chance is tried out, and how often
_L1_SHARES = {
    "commoncrawl": 0.67,
    "c4": 0.15,
    "github": 0.045,
    "wikipedia": 0.045,
    "books": 0.045,
    "arxiv": 0.025,
    "stackexchange": 0.02,
}


class MixtureConfig(Section):
    """Shares and size of the training stream."""

    shares: dict[str, float] = Field(default_factory=lambda: dict(_L1_SHARES))  # L1 Table 1; of tokens, they add up to 1
    total_tokens: int = Field(1_000_000_000_000, ge=1)  # L1 Table 2 (7B, 13B); rounded down to whole rows
    max_epochs: float | dict[str, float] | None = 4.0  # chosen: beyond some 4 passes repeats teach less (Muennighoff et al. 2023)
    rows_per_file: int = Field(8192, ge=1)  # chosen
    piece_tokens: int = Field(16384, ge=1)  # chosen: a longer document is spread in pieces of this size
    validation_rows: int = Field(512, ge=0)  # chosen: rows per source of the validation split
    windows: int = Field(50, ge=1)  # chosen: stretches of training in which shares are compared with the plan

    @model_validator(mode="after")
    def _shares_add_up(self) -> "MixtureConfig":
        if any(share < 0 for share in self.shares.values()) or abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError(f"shares must not be negative and must add up to 1; they add up to {sum(self.shares.values()):.6g}")
        return self


def plan_mixture(
    tokenised: dict[str, list[Path]], output: Path, config: MixtureConfig, context_length: int, vocab_size: int, seed: int
) -> dict[str, Any]:
    """Decide where every document goes; `output` becomes a folder for `scatter` and `gather`.

    Returns what `mixture.json` says: planned and actual shares, epochs, tokens, deviation over windows of training.
    Shards are numbered through the sources in order of name, then of path as given. `CorpusError` if a source has no
    documents or would be repeated more than `max_epochs` times.
    """
    rows = config.total_tokens // context_length
    if rows == 0:
        raise CorpusError("mixture.total_tokens", f"{config.total_tokens} is less than one row of {context_length} tokens")
    sources = sorted(source for source, share in config.shares.items() if share > 0)
    indexes = {source: _Index(tokenised.get(source, []), seed) for source in sources}
    targets = _targets(config.shares, sources, rows * context_length + 1)
    _check_epochs(indexes, targets, config)
    parts = {source: _source_part(indexes[source], targets[source], config.piece_tokens) for source in sources}
    units, order, owner = _interleave(list(parts.values()))
    shards = [source for source in sorted(tokenised) for _ in tokenised[source]]
    shard = np.concatenate([shards.index(source) + part.shard for source, part in parts.items()])[order]
    output.mkdir(exist_ok=True)
    _save_units(output, units, shard, len(shards))
    layout = {
        "context_length": context_length,
        "rows": rows,
        "rows_per_file": config.rows_per_file,
        "vocab_size": vocab_size,
        "shards": shards,
    }
    (output / "layout.json").write_text(json.dumps(layout, sort_keys=True))
    return _summary(units, owner, parts, indexes, config, rows, context_length, seed)


def row_files(plan: Path) -> list[str]:
    """Names of the row files, in training order; `gather` writes number k of them."""
    layout = _layout(plan)
    count = -(-layout["rows"] // layout["rows_per_file"])
    return [f"rows-{number:0{max(5, len(str(count)))}d}.parquet" for number in range(count)]


def scatter(tokenised: Path, plan: Path, output: Path, shard: int) -> Funnel:
    """Map: cut one tokenised shard by the row file each piece goes to.

    `output` is one file that `gather` can read in a few places: two int64 (bytes of an id, pieces), bounds of every row file
    in pieces and tokens, the pieces, the tokens, and how often each id of the vocabulary is a target in them (int64), for
    `count_targets`. Memory: the tokens of the shard.
    """
    layout, files = _layout(plan), len(row_files(plan))
    bounds = np.load(plan / "bounds.npy")
    units = np.load(plan / "units.npy", mmap_mode="r")[bounds[shard] : bounds[shard + 1]]
    ids, tokens, documents = _documents(tokenised)
    span = layout["rows_per_file"] * layout["context_length"]  # file k holds stream positions [k span, (k + 1) span]
    start, length = units["start"].astype(np.int64), units["length"].astype(np.int64)
    first = np.maximum(start - 1, 0) // span
    counts = np.minimum((start + length - 1) // span, files - 1) - first + 1
    unit = np.repeat(np.arange(len(units)), counts)
    file = np.arange(len(unit)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    order = np.lexsort((start[unit], file))
    unit, file = unit[order], file[order]
    low = np.maximum(start[unit], file * span)
    high = np.minimum(start[unit] + length[unit], (file + 1) * span + 1)
    source = documents[units["row"][unit]] + units["offset"][unit] + (low - start[unit])
    pieces = np.empty(len(unit), _piece_type(ids.dtype.itemsize))
    pieces["start"], pieces["length"], pieces["id"] = low, high - low, ids[units["row"][unit]]
    starts = np.searchsorted(file, np.arange(files + 1))
    bounds = np.stack([starts, np.concatenate([[0], np.cumsum(high - low)])[starts]], axis=1)
    context_only = tokens[source[low == file * span]]  # the first id of a row file; the file before ends with it, as a target
    targets = -np.bincount(context_only, minlength=layout["vocab_size"])
    with output.open("wb") as out:
        for part in (np.array([ids.dtype.itemsize, len(pieces)]), bounds, pieces):
            part.tofile(out)
        for block in _blocks_of_ranges(tokens, source, high - low):
            block.tofile(out)
            targets += np.bincount(block, minlength=len(targets))
        targets.tofile(out)
    funnel = Funnel()
    funnel.count("tokens placed", int(length.sum()))
    return funnel


def count_targets(scattered: list[Path], vocab_size: int) -> np.ndarray:
    """How often each id of the vocabulary is predicted in the training rows, int64, out of what `scatter` wrote of all shards."""
    counts = np.zeros(vocab_size, np.int64)
    for path in scattered:
        counts += np.fromfile(path, np.int64, offset=path.stat().st_size - counts.nbytes)
    return counts


def gather(scattered: list[Path], plan: Path, output: Path, number: int) -> Funnel:
    """Reduce: row file `number` out of what `scatter` wrote for all shards, in the order of the shards."""
    layout, files = _layout(plan), len(row_files(plan))
    length = layout["context_length"]
    first = number * layout["rows_per_file"]
    rows = min(layout["rows_per_file"], layout["rows"] - first)
    dtype = token_type(layout["vocab_size"]).to_pandas_dtype()
    stream, pieces, owners = np.empty(rows * length + 1, dtype), [], []
    for shard, path in enumerate(scattered):
        mine, tokens = _scattered(path, number, files, dtype)
        at = 0
        for start, size in zip((mine["start"] - np.uint64(first * length)).tolist(), mine["length"].tolist(), strict=True):
            stream[start : start + size] = tokens[at : at + size]
            at += size
        pieces.append((mine["start"], mine["length"], pa.array(mine["id"].tolist(), pa.binary()).cast(pa.string())))
        owners.append(np.full(len(mine), shard))
    order = np.argsort(np.concatenate([start for start, _, _ in pieces]), kind="stable")
    lengths = np.concatenate([size for _, size, _ in pieces])[order]
    ids = pa.concat_arrays([id for _, _, id in pieces]).take(pa.array(order))
    sources = pa.array(layout["shards"], pa.string()).take(pa.array(np.concatenate(owners)[order]))
    write_rows(output, pack(stream, lengths, sources, ids, length, layout["vocab_size"]))
    funnel = Funnel()
    funnel.count("rows", rows)
    return funnel


def _scattered(path: Path, number: int, files: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pieces (start, length, id) and tokens that one shard has for row file `number`."""
    width, place = np.dtype(dtype).itemsize, 16 * (files + 2)

    def read(kind: Any, offset: int, count: int) -> np.ndarray:
        file.seek(offset)
        return np.frombuffer(file.read(count * np.dtype(kind).itemsize), kind)

    with path.open("rb") as file:
        id_bytes, pieces = read(np.int64, 0, 2).tolist()
        piece_from, token_from, piece_to, token_to = read(np.int64, 16 * (number + 1), 4).tolist()
        kind = _piece_type(id_bytes)
        mine = read(kind, place + piece_from * kind.itemsize, piece_to - piece_from)
        return mine, read(dtype, place + pieces * kind.itemsize + token_from * width, token_to - token_from)


def _piece_type(id_bytes: int) -> np.dtype:
    return np.dtype([("start", "<u8"), ("length", "<u4"), ("id", f"S{id_bytes}")])


def pack_validation(
    tokenised: list[Path], output: Path, source: str, config: MixtureConfig, context_length: int, vocab_size: int, seed: int
) -> Funnel:
    """Rows of one source's validation documents, in hashed order, up to `validation_rows`; none if they fill no row."""
    index, funnel = _Index(tokenised, seed), Funnel()
    order = index.order(0)
    ends = np.cumsum(index.length[order])
    total = int(ends[-1]) if len(ends) else 0
    rows = min(config.validation_rows, max(0, total - 1) // context_length)
    funnel.count(f"validation rows: {source}", rows)
    if rows == 0:
        write_rows(output, empty_rows(context_length, vocab_size))
        return funnel
    wanted = rows * context_length + 1
    order = order[: int(np.searchsorted(ends, wanted)) + 1]
    lengths = index.length[order].astype(np.int64)
    lengths[-1] -= int(lengths.sum()) - wanted
    chosen, place = _chosen(tokenised, index.shard[order], index.row[order])
    tokens, bounds = read_tokens(chosen)
    ids = chosen["id"].combine_chunks().take(pa.array(place))
    stream = _ranges(tokens, bounds[place], lengths)
    write_rows(output, pack(stream, lengths, pa.array([source] * len(ids)), ids, context_length, vocab_size))
    return funnel


def _chosen(tokenised: list[Path], shards: np.ndarray, rows: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    """The documents of which shard and row are given, and where each stands in that table. One row group is held besides."""
    parts, by_place = [], np.lexsort((rows, shards))
    for shard in np.unique(shards).tolist():
        mine, first = np.sort(rows[shards == shard]), 0
        with pq.ParquetFile(str(tokenised[shard]), memory_map=False, pre_buffer=False) as file:
            for group in range(file.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                here = mine[slice(*np.searchsorted(mine, [first, last]))]
                if len(here):
                    table = file.read_row_group(group, columns=["id", "tokens"], use_threads=False)
                    parts.append(table.take(pa.array(here - np.uint32(first))))
                first = last
    place = np.empty(len(rows), np.int64)
    place[by_place] = np.arange(len(rows))
    return pa.concat_tables(parts), place


def materialise(
    tokenised: dict[str, list[Path]],
    output: Path,
    scratch: Path,
    config: MixtureConfig,
    context_length: int,
    vocab_size: int,
    seed: int,
) -> dict[str, Any]:
    """All steps in one process: row files and `mixture.json` in `output`; returns what the latter says."""
    summary = plan_mixture(tokenised, scratch / "plan", config, context_length, vocab_size, seed)
    shards = [path for source in sorted(tokenised) for path in tokenised[source]]
    scattered = [scratch / f"scattered-{number:05d}" for number in range(len(shards))]
    for number, path in enumerate(shards):
        scatter(path, scratch / "plan", scattered[number], number)
    for number, name in enumerate(row_files(scratch / "plan")):
        gather(scattered, scratch / "plan", output / name, number)
    (output / "mixture.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
    return summary


class _Index:
    """The documents of one source: shard (of the source), row, length in tokens, and a hash of (seed, id)."""

    def __init__(self, paths: list[Path], seed: int) -> None:
        from data.shingles import buffers, hash_strings

        self.paths = paths
        shards, rows, lengths, hashes = [], [], [], []
        key = np.uint64(int.from_bytes(hashlib.sha256(f"mixture {seed}".encode()).digest()[:8], "little"))
        for shard, path in enumerate(paths):
            try:
                table = pq.read_table(str(path), columns=["id", "length"], memory_map=False, use_threads=False)
            except (pa.ArrowInvalid, OSError) as error:
                raise CorpusError(path, f"not a readable tokenised shard ({error})") from error
            ids = pa.concat_arrays([pa.array([], pa.string()), *table["id"].chunks])
            shards.append(np.full(len(ids), shard, np.uint32))
            rows.append(np.arange(len(ids), dtype=np.uint32))
            lengths.append(table["length"].to_numpy().astype(np.uint32))
            hashes.append(hash_strings(*buffers(ids), key))
        self.shard, self.row = _joined(shards, np.uint32), _joined(rows, np.uint32)
        self.length, self.hash = _joined(lengths, np.uint32), _joined(hashes, np.uint64)
        self.tokens = int(self.length.sum(dtype=np.int64))

    def order(self, epoch: int) -> np.ndarray:
        """The documents in the order of one pass: by a bijection of the hash that is another in every epoch."""
        h = self.hash ^ np.uint64((0x9E3779B97F4A7C15 * (epoch + 1)) & (2**64 - 1))
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.lexsort((self.length, h ^ (h >> np.uint64(31))))


def _documents(tokenised: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids as fixed-width bytes, token ids end to end, and int64 bounds of the documents of a tokenised shard."""
    table = pq.read_table(str(tokenised), columns=["id", "tokens"], memory_map=False, use_threads=False)
    ids = table["id"].cast(pa.binary()).to_numpy().astype(bytes) if len(table) else np.empty(0, "S1")
    return ids, *read_tokens(table)


def _joined(parts: list[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts])


def _targets(shares: dict[str, float], sources: list[str], stream: int) -> dict[str, int]:
    """Tokens of each source: the shares of the stream, rounded so that they add up to it (largest remainders)."""
    exact = {source: shares[source] * stream / sum(shares[other] for other in sources) for source in sources}
    whole = {source: int(exact[source]) for source in sources}
    by_remainder = sorted(sources, key=lambda source: (whole[source] - exact[source], source))
    for source in by_remainder[: stream - sum(whole.values())]:
        whole[source] += 1
    return whole


def _check_epochs(indexes: dict[str, _Index], targets: dict[str, int], config: MixtureConfig) -> None:
    for source, index in indexes.items():
        if index.tokens == 0:
            raise CorpusError(f"mixture.shares.{source}", "the source has no documents left to train on; set its share to 0")
    given = config.max_epochs if isinstance(config.max_epochs, dict) else dict.fromkeys(indexes, config.max_epochs)
    limits = {source: limit for source, limit in given.items() if source in indexes and limit is not None}
    most = {source: limit * indexes[source].tokens for source, limit in limits.items()}
    over = {source: limit for source, limit in most.items() if targets[source] > limit + 1}
    if over:
        source = max(over, key=lambda name: (targets[name] / over[name], name))
        possible = int(min(limit / config.shares[name] for name, limit in over.items() if config.shares[name]))
        raise CorpusError(
            f"mixture.shares.{source}",
            f"{targets[source]:,} tokens are asked of a source of {indexes[source].tokens:,}: "
            f"{targets[source] / indexes[source].tokens:.2f} epochs, and max_epochs is {limits[source]:g}; "
            f"lower mixture.total_tokens to {possible:,}, or the share, or raise mixture.max_epochs",
        )


class _Part(NamedTuple):
    """One source's pieces in the order in which it gives them."""

    units: np.ndarray
    shard: np.ndarray  # of the source
    documents: int  # begun, over all passes


def _source_part(index: _Index, target: int, piece: int) -> _Part:
    """The pieces of one source; their lengths add up to `target`."""
    orders, missing, epoch = [], target, 0
    while missing > 0:
        order = index.order(epoch)
        if missing < index.tokens:
            order = order[: int(np.searchsorted(np.cumsum(index.length[order], dtype=np.int64), missing)) + 1]
        orders.append(order)
        missing -= int(index.length[order].sum(dtype=np.int64))
        epoch += 1
    chosen = _joined(orders, np.int64)
    length = index.length[chosen].astype(np.int64)
    length[-1:] += missing  # not positive: by how much the last document is too long
    counts = -(-length // piece)
    document = np.repeat(np.arange(len(chosen)), counts)
    offset = (np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)) * piece
    units = np.empty(len(document), _UNIT)
    units["row"], units["offset"] = index.row[chosen[document]], offset
    units["length"] = np.minimum(length[document] - offset, piece)
    return _Part(units, index.shard[chosen[document]], len(chosen))


def _interleave(parts: list[_Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pieces in training order, where each stood in the parts laid end to end, and the source (number) of each.

    A piece stands where the same part of every source has been used: at the middle of its place in its source's
    stream, as a fraction. So no source runs ahead of its share by more than a piece.
    """
    keys, owners = [], []
    for number, part in enumerate(parts):
        ends = np.cumsum(part.units["length"], dtype=np.int64)
        keys.append((ends - part.units["length"] / 2) / max(1, int(ends[-1]) if len(ends) else 0))
        owners.append(np.full(len(ends), number, np.uint16))
    owner = np.concatenate(owners)
    order = np.lexsort((owner, np.concatenate(keys)))
    units = np.concatenate([part.units for part in parts])[order]
    units["start"] = np.cumsum(units["length"], dtype=np.uint64) - units["length"]
    return units, order, owner[order]


def _save_units(folder: Path, units: np.ndarray, shard: np.ndarray, shards: int) -> None:
    order = np.argsort(shard, kind="stable")
    np.save(folder / "units.npy", units[order])
    np.save(folder / "bounds.npy", np.searchsorted(shard[order], np.arange(shards + 1)))


def _layout(plan: Path) -> dict[str, Any]:
    return json.loads((plan / "layout.json").read_text())


def _ranges(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """values[start : start + length] for every range, end to end."""
    out = np.empty(int(lengths.sum()), values.dtype)
    at = 0
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        out[at : at + length] = values[start : start + length]
        at += length
    return out


def _blocks_of_ranges(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """What `_ranges` gives, in blocks of about _BLOCK_TOKENS."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(_BLOCK_TOKENS, total, _BLOCK_TOKENS), "right")
    for first, last in pairwise(np.unique([0, *cuts, len(lengths)])):
        yield _ranges(values, starts[first:last], lengths[first:last])


def _summary(
    units: np.ndarray,
    owner: np.ndarray,
    parts: dict[str, _Part],
    indexes: dict[str, _Index],
    config: MixtureConfig,
    rows: int,
    length: int,
    seed: int,
) -> dict[str, Any]:
    stream = rows * length + 1
    edges = np.linspace(0, stream, min(config.windows, rows) + 1).astype(np.int64)
    planned = np.array([config.shares[source] for source in parts])
    laid, used = _in_windows(units["length"].astype(np.int64), owner, edges, len(parts))
    by_chance = _by_chance(units["length"].astype(np.int64), owner, edges, planned, seed)
    sources: dict[str, Any] = {}
    for number, (source, part) in enumerate(parts.items()):
        tokens = int(used[number])
        sources[source] = {
            "share_planned": config.shares[source],
            "share_actual": round(tokens / stream, 9),
            "window_shares": [round(share, 6) for share in laid[number].tolist()],
            "window_deviation": round(float(np.abs(laid[number] - planned[number]).max()), 9),
            "window_deviation_by_chance": round(float(by_chance[number]), 9),
            "tokens": tokens,
            "tokens_available": indexes[source].tokens,
            "epochs": round(tokens / indexes[source].tokens, 6),
            "documents": part.documents,
            "documents_available": len(indexes[source].length),
        }
    return {
        "rows": rows,
        "context_length": length,
        "tokens": rows * length,
        "windows": len(edges) - 1,
        "window_deviation": max(entry["window_deviation"] for entry in sources.values()),
        "sources": sources,
    }


def deviation_by_chance(shares: np.ndarray, clumps: np.ndarray, stream: int, windows: int) -> np.ndarray:
    """The largest deviation from its share that a source would show in `windows` windows, were its pieces laid down at random.

    A binomial of pieces, which must be short beside a window: the median of the largest of so many deviations. `clumps` is the
    mean length of the piece that a token stands in, by source; with pieces of one token this is the binomial of tokens.
    """
    others = (shares * clumps).sum() - shares * clumps
    variance = ((1 - shares) ** 2 * shares * clumps + shares**2 * others) * windows / stream
    return np.sqrt(variance) * NormalDist().inv_cdf((1 + 0.5 ** (1 / windows)) / 2)


def _by_chance(lengths: np.ndarray, owner: np.ndarray, edges: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """As `deviation_by_chance`; pieces that are few are shuffled, since a long one may fill a window."""
    if len(lengths) > _MOST_SHUFFLED:
        total = np.bincount(owner, lengths, len(shares))
        clumps = np.bincount(owner, lengths.astype(np.float64) ** 2, len(shares)) / np.maximum(total, 1)
        return deviation_by_chance(shares, clumps, int(edges[-1]), len(edges) - 1)
    draw, largest = np.random.default_rng(seed), []
    for _ in range(_SHUFFLES):
        order = draw.permutation(len(lengths))
        laid, _ = _in_windows(lengths[order], owner[order], edges, len(shares))
        largest.append(np.abs(laid - shares[:, None]).max(axis=1))
    return np.median(largest, axis=0)


def _in_windows(lengths: np.ndarray, owner: np.ndarray, edges: np.ndarray, sources: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of every source in every window, (sources, windows), and its tokens in all, of pieces in the order of training."""
    starts = np.cumsum(lengths) - lengths
    used = np.stack([_used_before(starts[owner == number], lengths[owner == number], edges) for number in range(sources)])
    return np.diff(used, axis=1) / np.diff(edges), used[:, -1]


def _used_before(starts: np.ndarray, lengths: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Tokens of the pieces (ascending) that stand before each edge."""
    if len(starts) == 0:
        return np.zeros(len(edges), np.int64)
    cumulative = np.concatenate([[0], np.cumsum(lengths)])
    begun = np.searchsorted(starts, edges, "left")
    last = np.maximum(begun - 1, 0)
    beyond = np.where(begun > 0, np.maximum(starts[last] + lengths[last] - edges, 0), 0)
    return cumulative[begun] - beyond
