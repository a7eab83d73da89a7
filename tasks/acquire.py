"""`acquire-<source>`: which raw files a source consists of, by name and content.

The list is the artifact; the bytes stay where they are, or where they were fetched to. Readers find them through the
recipe, so that corpora can be moved without anything running again.
"""

import json

from tasks.stage import StageContext


def list_raw_files(context: StageContext) -> None:
    """Write `files.jsonl`: name, size and SHA-256 of every raw file, sorted by name."""
    with open(context.output("files.jsonl"), "w", encoding="utf-8") as out:
        for file in context.raw:
            out.write(json.dumps({"name": file.name, "size": file.size, "sha256": file.sha256}) + "\n")
    if addresses := sorted({file.address for file in context.raw if file.address}):
        context.metrics.update(addresses=addresses)
    total = sum(file.size for file in context.raw)
    context.metrics.update(files=len(context.raw), bytes=total, headline=f"{len(context.raw)} raw files, {total / 2**20:.1f} MiB")
