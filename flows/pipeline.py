"""The whole recipe: raw corpora to an evaluated model, as one flow of flows."""

from prefect import flow

from flows.corpora import corpora
from flows.evaluate import evaluate
from flows.mixture import mixture
from flows.pretrain import pretrain
from flows.session import Request
from flows.stages import Records, run_name, session_for


@flow(name="quipu", flow_run_name=run_name, persist_result=True, result_serializer="json", validate_parameters=False)
def pipeline(
    recipe: str,
    overrides: list[str] | None = None,
    store: str = "runs",
    first: str | None = None,
    until: str | None = None,
    only: str | None = None,
    forced: list[str] | None = None,
) -> Records:
    """Raw corpora to base model (L1 §2), and its evaluation (L1 §3)."""
    request = Request(recipe, tuple(overrides or ()), store, first, until, only, tuple(forced or ()))
    with session_for(request):
        said = {"recipe": recipe, "overrides": list(request.overrides), "store": store, "forced": list(request.forced)}
        documents = corpora(**said)
        sequences = mixture(**said, before=documents)
        base = pretrain(**said, before=sequences)
        scores = evaluate(**said, before={**documents, **base})
        return {**documents, **sequences, **base, **scores}
