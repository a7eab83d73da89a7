"""Clean documents to a tokenizer and to packed sequences in training order (L1 §2.1, Table 1)."""

from prefect import flow

from flows.session import Request
from flows.stages import Records, run_group, run_name, session_for


@flow(name="mixture", flow_run_name=run_name, persist_result=True, result_serializer="json", validate_parameters=False)
def mixture(
    recipe: str,
    overrides: list[str] | None = None,
    store: str = "runs",
    before: Records | None = None,
    forced: list[str] | None = None,
) -> Records:
    """Clean documents to a tokenizer and to packed sequences in training order (L1 §2.1, Table 1).

    Run by itself it takes what earlier groups left in the store and makes only its own stages.
    """
    with session_for(Request(recipe, tuple(overrides or ()), store, forced=tuple(forced or ()))) as session:
        return run_group(session, "mixture", before)
