"""Raw files to clean, deduplicated documents of every source (L1 §2.1).

Per source: `acquire`, `read` and its own chain of steps; then, over all of them, near-duplicates and the documents that
give benchmark answers away.
"""

from flows.stages import group_flow

corpora = group_flow("corpora", "Raw files to clean, deduplicated documents of every source (L1 §2.1).")
