"""Map and reduce over hash partitions: from shards that each wrote one file a partition to one reduce call a partition."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.stage import Shard, ShardResult, StageContext


def by_partition(mapped: list[ShardResult]) -> dict[str, list[Path]]:
    """Partition file name → that file of every shard that wrote it."""
    names = sorted({path.name for result in mapped for path in result.path.glob("*.npy")})
    return {name: [result.path / name for result in mapped if (result.path / name).is_file()] for name in names}


def repeated_in(
    context: StageContext,
    label: str,
    hash_shard: Callable[..., Any],
    reduce: Callable[..., Any],
    documents: list[Path],
    config: Any,
    numbered: bool = False,
) -> list[Path]:
    """The reduce files of a hash-partitioned group-by over all documents: what occurs more than once.

    `numbered`: the function takes the number of its shard as well.
    """
    hashing = [
        Shard(f"{label}-hashes/{i:05d}/", {"documents": path, "config": config, **({"shard": i} if numbered else {})})
        for i, path in enumerate(documents)
    ]
    mapped = context.map(hash_shard, hashing, keep=False, count=False)
    reducing = [
        Shard(f"{label}/{name}", {"partition_files": files, "config": config}) for name, files in by_partition(mapped).items()
    ]
    return [result.path for result in context.map(reduce, reducing, keep=False, count=False)]
