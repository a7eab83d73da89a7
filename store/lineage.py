"""Lineage: from an artifact back to the raw bytes, by the parents its manifest cites.

A parent is cited by content: if it has been made again since with other bytes, the former manifest is looked up, and
what is no longer there is a node all the same, marked missing. Every artifact is one node, however many ways lead to it.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from store.artifact import Artifact
from store.errors import DamagedManifest
from store.manifest import Manifest, Parent
from store.store import Store


@dataclass
class Node:
    """One artifact of the lineage; `parents` are keys of other nodes. A missing one's parents are unknown unless recorded."""

    stage: str
    fingerprint: str
    digest: str
    missing: bool = False
    parents: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Its name among the nodes: the content matters, because a stage may have been made again."""
        return f"{self.stage}/{self.fingerprint}@{self.digest[:12]}"


@dataclass
class Lineage:
    """All that an artifact descends from; the root is the artifact."""

    root: str
    nodes: dict[str, Node]

    def to_json(self) -> dict[str, Any]:
        """Plain data: the root's key, and the nodes with their parents' keys."""
        nodes = [
            {
                "key": node.key,
                "stage": node.stage,
                "fingerprint": node.fingerprint,
                "digest": node.digest,
                "missing": node.missing,
                "parents": node.parents,
            }
            for node in self.nodes.values()
        ]
        return {"root": self.root, "nodes": nodes}

    def lines(self) -> list[str]:
        """A drawing of the tree; what has been shown above is not opened again."""
        drawn: list[str] = []
        shown: set[str] = set()
        pending = [(self.root, "", "")]  # key, branch before the name, indentation of its parents
        while pending:
            key, branch, indent = pending.pop()
            node = self.nodes[key]
            again = key in shown and bool(node.parents)
            drawn.append(
                f"{branch}{node.stage} {node.fingerprint}{' (missing)' if node.missing else ''}{' (above)' if again else ''}"
            )
            if not again:
                last = len(node.parents) - 1
                children = [
                    (parent, indent + ("└─ " if place == last else "├─ "), indent + ("   " if place == last else "│  "))
                    for place, parent in enumerate(node.parents)
                ]
                pending.extend(reversed(children))
            shown.add(key)
        return drawn


def lineage(store: Store, artifact: Artifact) -> Lineage:
    """Follow the parents of `artifact` to those that have none."""
    root = Node(artifact.stage, artifact.fingerprint, artifact.digest)
    nodes = {root.key: root}
    pending: list[tuple[Node, Manifest]] = [(root, artifact.manifest)]
    while pending:
        node, manifest = pending.pop()
        for parent in (_at_its_place(store, parent) for parent in manifest.parents):
            found = Node(parent.stage, parent.fingerprint, parent.digest)
            node.parents.append(found.key)
            if found.key in nodes:
                continue
            nodes[found.key] = found
            cited, found.missing = cited_manifest(store, parent)
            if cited is not None:
                pending.append((found, cited))
    return Lineage(root.key, nodes)


def cited_manifest(store: Store, parent: Parent) -> tuple[Manifest | None, bool]:
    """The manifest with the content that is cited, be it the present one or a former, and whether its data is missing."""
    for manifest in manifests_of(store, parent.stage, parent.fingerprint):
        if manifest.digest == parent.digest:
            attempt = f"{parent.stage}/{parent.fingerprint}/{manifest.attempt}"
            return manifest, any(store.files.size(f"{attempt}/{entry.path}") != entry.size for entry in manifest.files)
    return None, True


def _at_its_place(store: Store, parent: Parent) -> Parent:
    """`parent` under the stage that made it: what came from outside, or from an earlier run, is cited by the part it plays."""
    if parent.fingerprint in store.fingerprints(parent.stage):
        return parent
    made_by = (stage for stage in store.stages() if parent.fingerprint in store.fingerprints(stage))
    return replace(parent, stage=next(made_by, parent.stage))


def manifests_of(store: Store, stage: str, fingerprint: str) -> list[Manifest]:
    """The present manifest of a place, then the former ones; those that cannot be read are left out."""
    place = f"{stage}/{fingerprint}"
    former = [name for name in store.files.names(place) if name.startswith("manifest-") and name.endswith(".json")]
    found = []
    for name in ["manifest.json", *reversed(former)]:
        try:
            found.append(Manifest.from_json(store.files.read(f"{place}/{name}").decode()))
        except (OSError, UnicodeDecodeError, DamagedManifest):
            continue
    return found
