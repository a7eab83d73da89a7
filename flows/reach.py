"""Which artifacts recipes and runs still reach: what `quipu gc` must keep."""

from store import runs
from store.store import Store
from tasks.planning import make_plan
from tasks.recipe import Recipe, RecipeError

RUNS_KEPT = 3


def reachable(store: Store, recipes: list[Recipe]) -> set[str]:
    """Fingerprints that the recipes' plans reuse, and those of each recipe's last runs."""
    kept: set[str] = set()
    for recipe in recipes:
        try:
            plan = make_plan(store, recipe)
        except RecipeError:
            continue  # its raw files are not here: nothing of it can be reused on this store
        kept |= {planned.fingerprint for planned in plan if planned.fingerprint}
    counted: dict[str, int] = {}
    for run in runs.list(store):
        counted[run.recipe_name] = counted.get(run.recipe_name, 0) + 1
        if counted[run.recipe_name] <= RUNS_KEPT:
            kept |= {entry["fingerprint"] for entry in run.stages.values() if entry.get("fingerprint")}
    return kept
