"""What the readers of Wikipedia and Stack Exchange make shards of: parts of a large dump, the largest sites of many."""

import bz2
from pathlib import Path
from typing import Any

from data.documents import read_rows
from store.artifact import Artifact
from store.store import Store
from tasks.executor import LocalExecutor
from tests.tasks.chain import recipe, run_until


def made(source: str, section: dict[str, Any], store: Path) -> Artifact:
    executor = LocalExecutor(1)
    try:
        return run_until(f"{source}-read", recipe({source: section}), Store(store), executor)
    finally:
        executor.close()


def test_a_large_dump_is_read_in_parts_and_gives_the_same_documents(tmp_path: Path) -> None:
    pages = [
        f"<page><title>T{n}</title><id>{n}</id><revision><text>Text {n} {'word ' * (n * 31 % 90)}.</text></revision></page>"
        for n in range(60)
    ]
    streams = ["<mediawiki>", *("".join(pages[n : n + 10]) for n in range(0, 60, 10)), "</mediawiki>"]
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "xwiki.xml.bz2").write_bytes(b"".join(bz2.compress(stream.encode()) for stream in streams))
    whole, parted = (
        made("wikipedia", {"inputs": [str(folder)], "shard_bytes": size}, tmp_path / str(size)) for size in (1 << 20, 500)
    )
    assert len(whole.paths()) == 1 < len(parted.paths())
    assert list(read_rows(whole.paths())) == list(read_rows(parted.paths()))
    assert whole.manifest.funnel == parted.manifest.funnel and whole.manifest.funnel["rows_out"] == 60


def test_the_largest_sites_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    for site, body in (("a.com", 10), ("b.com", 900), ("c.com", 500)):
        (folder / site).mkdir(parents=True)
        post = f'<row Id="1" PostTypeId="1" Score="1" Title="{site}" Body="{"x" * body}" />'
        (folder / site / "Posts.xml").write_text(f"<posts>{post}</posts>")
        (folder / site / "Comments.xml").write_text("<comments></comments>")
    given = {"inputs": [str(folder)], "read": {"sites": 2}}
    rows = read_rows(made("stackexchange", given, tmp_path / "store").paths())
    assert sorted(row["text"][:8] for row in rows) == ["Q: b.com", "Q: c.com"]
