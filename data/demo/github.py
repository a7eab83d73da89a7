"""GitHub: a tarball per repository, from the sources of the installed packages with the licence files they came with.

Some licences are not permissive, one repository has no licence at all, and one carries copies of files of another.
"""

import gzip
import io
import tarfile
from pathlib import Path
from random import Random

from data.demo import installed_text
from data.demo.deal import Material

SHARE = 0.05  # of all raw bytes
REPOSITORY_SHARE = 0.07  # of these, at most, in one repository
MAX_FILE = 60_000
_ALWAYS = ("cpython", "certifi", "tqdm", "pathspec")  # their licences are not permitted
_MTIME = 1_659_312_000  # 2022-08-01


def write(folder: Path, material: Material) -> dict[str, int]:
    """Write the tarballs; returns figures."""
    random = material.random("github")
    left = int(SHARE * material.config.megabytes * 1e6)
    most = max(40_000, int(left * REPOSITORY_SHARE))
    found = [repository for repository in installed_text.source_folders() if repository.name not in material.config.packages]
    random.shuffle(found)
    found.sort(key=lambda repository: repository.name not in _ALWAYS)
    size = count = 0
    copied: dict[str, bytes] = {}
    for repository in found:
        if left <= 0:
            break
        unlicensed = repository.name not in _ALWAYS and count == len(_ALWAYS)
        budget = min(most // 3 if repository.name in _ALWAYS or unlicensed else most, left)
        members = _members(repository, budget, random)
        if not members:
            continue
        if not unlicensed:
            members |= _licenses(repository)
        if copied:
            members |= {f"vendored/{name}": data for name, data in list(copied.items())[:1]}
        copied = {name: data for name, data in members.items() if name.endswith(".py") and len(data) > 500}
        root = f"{repository.name}-{repository.name}-{repository.version}"
        (folder / f"{root}.tar.gz").write_bytes(_tarball(root, members))
        written = sum(map(len, members.values()))
        size, left, count = size + written, left - written, count + 1
    return {"github_repositories": count, "github_bytes": size}


def _members(repository: installed_text.SourceFolder, characters: int, random: Random) -> dict[str, bytes]:
    """Files of a repository, whole, until there is enough."""
    members: dict[str, bytes] = {}
    size = 0
    for name in random.sample(repository.files, len(repository.files)):
        path = repository.root / name
        if size >= characters:
            break
        if not path.is_file() or path.stat().st_size > min(MAX_FILE, characters):
            continue
        members[name] = path.read_bytes()
        size += len(members[name])
    return members


def _licenses(repository: installed_text.SourceFolder) -> dict[str, bytes]:
    if repository.name == "cpython":
        return {"LICENSE": _PYTHON_LICENSE.encode()}
    return {path.name: path.read_bytes() for path in repository.license_files[:3] if path.is_file()}


_PYTHON_LICENSE = """PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2
--------------------------------------------

1. This LICENSE AGREEMENT is between the Python Software Foundation
("PSF"), and the Individual or Organization ("Licensee") accessing and
otherwise using this software ("Python") in source or binary form and
its associated documentation.
"""


def _tarball(root: str, members: dict[str, bytes]) -> bytes:
    """A gzipped tar whose bytes depend on its members alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(members):
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size, member.mtime, member.mode = len(members[name]), _MTIME, 0o644
            archive.addfile(member, io.BytesIO(members[name]))
    return gzip.compress(buffer.getvalue(), 6, mtime=0)
