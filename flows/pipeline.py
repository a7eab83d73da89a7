"""The whole recipe: raw corpora to an evaluated model, as one flow of flows."""

from flows.align import align
from flows.corpora import corpora
from flows.evaluate import evaluate
from flows.mixture import mixture
from flows.pretrain import pretrain
from flows.stages import Records, call_group, recipe_flow, request_of, session_for


@recipe_flow("quipu")
def pipeline(
    recipe: str,
    overrides: list[str] | None = None,
    store: str | None = None,
    first: str | None = None,
    until: str | None = None,
    only: str | None = None,
    forced: list[str] | None = None,
) -> Records:
    """Raw corpora to a base model (L1 §2), to a chat model (L2 §3), and their scores. What is there is not made again."""
    with session_for(request_of(recipe, overrides, store, forced, first=first, until=until, only=only)) as session:
        documents = call_group(corpora, session)
        sequences = call_group(mixture, session, documents)
        base = call_group(pretrain, session, sequences)
        chat = call_group(align, session, documents, base)
        scores = call_group(evaluate, session, documents, base, chat)
        return {**documents, **sequences, **base, **chat, **scores}
