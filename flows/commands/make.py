"""`quipu run`, `plan` and `rerun`: make a model from a recipe, or say what would be made and why."""

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import DEFAULT_STORE, AsJson, Overrides, RecipePath, StoreRoot, print_json, table

if TYPE_CHECKING:
    from flows.session import Session
    from tasks.planning import PlannedStage

NoPrefect = Annotated[bool, typer.Option("--no-prefect", help="Run the same plan without Prefect: no server, no dashboard.")]
From = Annotated[str | None, typer.Option("--from", metavar="STAGE", help="Only this stage and what follows from it.")]
Until = Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Only up to this stage and what it needs.")]
Only = Annotated[str | None, typer.Option("--only", metavar="STAGE", help="Only this stage, or those that fit 'evaluate-*'.")]
Executor = Annotated[str | None, typer.Option("--executor", help="local or ray, instead of the recipe's resources.executor.")]
Downstream = Annotated[bool, typer.Option("--downstream", help="Let what follows run too, where the bytes came out different.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("run")(run)
    app.command("plan")(plan)
    app.command("rerun")(rerun)


def run(
    recipe: RecipePath,
    first: From = None,
    until: Until = None,
    only: Only = None,
    overrides: Overrides = None,
    store: StoreRoot = DEFAULT_STORE,
    executor: Executor = None,
    no_prefect: NoPrefect = False,
) -> None:
    """Plan the recipe, then run what is needed; what is there already is not made again.

    Example: quipu run configs/demo.yaml --until tokenizer
    """
    from flows.session import Request

    said = list(overrides or []) + ([f"resources.executor={executor}"] if executor else [])
    _run(Request(recipe, tuple(said), store, first, until, only), no_prefect)


def plan(recipe: RecipePath, overrides: Overrides = None, store: StoreRoot = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show what a run would reuse and make, and why.

    Example: quipu plan configs/demo.yaml --set pretrain.lr=1.0e-3
    """
    from flows.session import Request, open_session

    session = open_session(Request(recipe, tuple(overrides or ()), store))
    if as_json:
        print_json({"stages": [planned.to_json() for planned in session.plan]})
    else:
        print(plan_table(session.plan))
        print(f"\n{_outline(session)}{_lacking(session)}")


def rerun(
    recipe: RecipePath,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="The stage to make again.")],
    downstream: Downstream = False,
    overrides: Overrides = None,
    store: StoreRoot = DEFAULT_STORE,
    no_prefect: NoPrefect = False,
) -> None:
    """Make one stage again in a new attempt; what others cite is never overwritten.

    Example: quipu rerun configs/demo.yaml commoncrawl-lines --downstream
    """
    from flows.session import Request

    request = Request(
        recipe,
        tuple(overrides or ()),
        store,
        first=stage if downstream else None,
        only=None if downstream else stage,
        forced=(stage,),
    )
    _run(request, no_prefect)


def plan_table(plan: "list[PlannedStage]") -> str:
    """The plan as text."""
    rows = [[p.stage.name, p.action, p.fingerprint or "-", p.reason] for p in plan]
    return table(["stage", "action", "fingerprint", "why"], rows)


def _run(request: "object", no_prefect: bool) -> None:
    from flows.session import Request, open_session, run_without_prefect

    assert isinstance(request, Request)
    session = open_session(request)
    session.require_runnable()
    print(_outline(session), flush=True)
    if not session.has_work():
        session.record_nothing_to_do()
    elif no_prefect:
        run_without_prefect(session)
    else:
        from flows.bridge import run_with_prefect

        run_with_prefect(request)
    _say_where(request)


def _say_where(request: "object") -> None:
    from flows.session import Request

    assert isinstance(request, Request)
    option = "" if request.store == DEFAULT_STORE else f" --store {request.store}"
    print(f"Done. `quipu status{option}` lists the artifacts, `quipu report{option}` draws the story.")


def _lacking(session: "Session") -> str:
    """What a run would stop at."""
    names = [planned.stage.name for planned in session.plan if planned.lacks]
    if not names:
        return ""
    return f"; {len(names)} wait for raw files, which must lie there before a run: {', '.join(names)}"


def _outline(session: "Session") -> str:
    actions = [planned.action for planned in session.plan]
    work = actions.count("run") + actions.count("wait")
    seconds = session.expected_seconds()
    about = f", about {seconds / 60:.0f} min by earlier runs" if seconds >= 60 else ""
    said = f"{session.recipe.name}: {len(actions)} stages, {actions.count('reuse')} there, {work} to make{about if work else ''}"
    return said + ("; nothing to do" if not work else "")
