"""`quipu adopt`, `gc`, `verify`, `pin` and `unpin`: what comes into the store from outside, what goes, what is whole."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.inspect import find_artifact
from flows.commands.options import DEFAULT_STORE, AsJson, StoreRoot, human_bytes, open_recipe, open_store, print_json, table


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (adopt, gc, verify, pin, unpin):
        app.command(command.__name__)(command)


def adopt(
    stage: Annotated[
        str, typer.Argument(metavar="STAGE", help="The stage in whose place the files stand, for example tokenizer.")
    ],
    source: Annotated[str, typer.Argument(metavar="FILE|FOLDER", help="What to bring in.")],
    note: Annotated[str, typer.Option("--note", help="Where it comes from, for the manifest.")] = "",
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Register a corpus, tokenizer or checkpoint from outside as an artifact.

    Example: quipu adopt tokenizer ~/models/tokenizer.model --note "released with the paper"
    """
    from store.adopt import adopt as bring_in

    artifact = bring_in(open_store(store), stage, Path(source).expanduser(), note=note)
    print(f"{artifact.stage} {artifact.fingerprint}: {len(artifact.manifest.files)} files, {human_bytes(artifact.bytes)}")
    print(f"a recipe uses it with: --set adopted.{artifact.stage}={artifact.fingerprint}")


def gc(
    recipes: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE]…", help="Recipes whose artifacts stay; all in configs/ by default.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Really remove; without it, only say what would go.")] = False,
    grace_days: Annotated[float, typer.Option("--grace-days", min=0, help="Leave alone what is younger.")] = 1.0,
    store: StoreRoot = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Throw out what no recipe, pin or run reaches. Shows first; removes with --delete.

    Example: quipu gc configs/demo.yaml --delete
    """
    from flows.reach import reachable
    from store.gc import collect, plan_gc
    from store.pins import pins

    opened = open_store(store)
    named = list(recipes) if recipes else [str(path) for path in sorted(Path("configs").glob("*.yaml"))]
    plan = plan_gc(opened, reachable(opened, [open_recipe(path, None) for path in named]), pins(opened), grace_days * 86400.0)
    if as_json:
        print_json(
            {"removable": [{"path": str(item.path), "bytes": item.bytes, "why": item.why} for item in plan], "deleted": delete}
        )
    else:
        print(
            table(["bytes", "what", "why"], [[human_bytes(item.bytes), str(item.path), item.why] for item in plan])
            if plan
            else "nothing to remove"
        )
    if delete:
        freed = collect(opened, plan)
        if not as_json:
            print(f"freed {human_bytes(freed)}")
    elif plan and not as_json:
        print(f"\n{human_bytes(sum(item.bytes for item in plan))} in all; add --delete to remove")


def verify(
    target: Annotated[str | None, typer.Argument(metavar="[STAGE|FINGERPRINT]", help="One artifact; all by default.")] = None,
    store: StoreRoot = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Hash every file again; damaged artifacts are set aside, so that the next run makes them anew.

    Example: quipu verify
    """
    from store.verify import verify as check
    from store.verify import verify_all

    opened = open_store(store)
    reports = [check(opened, find_artifact(opened, target))] if target else verify_all(opened)
    damaged = [report for report in reports if report.problems]
    if as_json:
        print_json({"checked": len(reports), "damaged": [report.to_json() for report in damaged]})
    else:
        for report in damaged:
            print(f"{report.stage} {report.fingerprint}: set aside\n  " + "\n  ".join(report.problems))
        print(
            f"{len(reports)} artifacts checked, {len(damaged)} damaged"
            + ("; run the recipe again to make them anew" if damaged else "")
        )
    if damaged:
        raise typer.Exit(1)


def pin(target: Annotated[str, typer.Argument(metavar="STAGE|FINGERPRINT")], store: StoreRoot = DEFAULT_STORE) -> None:
    """Keep an artifact from gc whatever the recipes say.

    Example: quipu pin pretrain
    """
    from store.pins import pin as keep

    opened = open_store(store)
    artifact = find_artifact(opened, target)
    keep(opened, artifact.fingerprint)
    print(f"pinned {artifact.stage} {artifact.fingerprint}")


def unpin(target: Annotated[str, typer.Argument(metavar="STAGE|FINGERPRINT")], store: StoreRoot = DEFAULT_STORE) -> None:
    """Let gc judge an artifact again.

    Example: quipu unpin pretrain
    """
    from store.pins import unpin as release

    opened = open_store(store)
    artifact = find_artifact(opened, target)
    release(opened, artifact.fingerprint)
    print(f"unpinned {artifact.stage} {artifact.fingerprint}")
