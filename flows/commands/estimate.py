"""`quipu estimate`: what a pretraining run will need and cost, before anything is paid for."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import AsJson, Overrides, open_recipe, print_json, table

if TYPE_CHECKING:
    from evaluation.carbon import CarbonConfig
    from model.config import ModelConfig
    from model.pretrain_config import PretrainConfig


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("estimate")(estimate)


def estimate(
    target: Annotated[str, typer.Argument(metavar="RECIPE|PRESET", help="A recipe file, or a preset such as llama-65b.")],
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="How many GPUs.")] = 8,
    gpu: Annotated[
        str, typer.Option("--gpu", metavar="KIND", help="a100-40gb, a100-80gb, h100-80gb, h200 or b200.")
    ] = "a100-80gb",
    mfu: Annotated[float | None, typer.Option("--mfu", help="Share of the peak that you reach, 0 to 1; else modelled.")] = None,
    dollars: Annotated[float | None, typer.Option("--dollars-per-hour", min=0, help="Price of one GPU for one hour.")] = None,
    serving: Annotated[
        float | None, typer.Option("--inference-tokens", min=0, help="Tokens that it will serve: would another size be cheaper?")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Parameters, memory per GPU, time, energy, carbon and cost of a pretraining run.

    Example: quipu estimate llama-65b --gpus 2048 --gpu a100-80gb --mfu 0.477
    """
    from evaluation.chips import GPUS
    from evaluation.estimate import Job
    from evaluation.estimate import estimate as work_out
    from model.pretrain_config import TrainingRefused

    if gpu not in GPUS:
        raise typer.BadParameter(f"{gpu!r} is not one of {', '.join(GPUS)}", param_hint="--gpu")
    if mfu is not None and not 0 < mfu <= 1:
        raise typer.BadParameter(f"{mfu:g} is no share above 0 and up to 1", param_hint="--mfu")
    model, pretrain, carbon, tokens = _what(target, overrides)
    job = Job(model, pretrain, tokens, gpus, GPUS[gpu], mfu, dollars, carbon)
    try:
        found = work_out(job)
    except TrainingRefused as error:
        raise typer.BadParameter(
            f"{error}; another number of GPUs, or --set pretrain.batch_tokens", param_hint="--gpus"
        ) from error
    if serving is not None:
        from evaluation.inference_budget import for_inference_budget

        names = ("as planned", "cheapest to train", "cheapest with what it serves")
        found["inference_budget"] = dict(zip(names, for_inference_budget(found["parameters"], tokens, serving), strict=True))
    print_json(found) if as_json else _print(found, f"{gpus:,} × {gpu}")


def _what(target: str, overrides: list[str] | None) -> "tuple[ModelConfig, PretrainConfig, CarbonConfig, int]":
    """Model, settings, constants of the carbon formula and tokens of a preset or a recipe."""
    from evaluation.carbon import CarbonConfig
    from evaluation.estimate import PUBLISHED_TOKENS
    from model.config import PRESETS, ModelConfig
    from model.pretrain_config import batch_rows

    if target in PRESETS:
        return ModelConfig(preset=target), _pretrain(overrides or []), CarbonConfig(), PUBLISHED_TOKENS[target]
    recipe = open_recipe(target, overrides)
    tokens = recipe.mixture.total_tokens
    if recipe.pretrain.steps is not None:
        tokens = recipe.pretrain.steps * batch_rows(recipe.pretrain, recipe.model.context_length) * recipe.model.context_length
    return recipe.model, recipe.pretrain, recipe.resources.carbon, tokens


def _pretrain(overrides: list[str]) -> "PretrainConfig":
    """The papers' settings of pretraining with some changed."""
    import yaml
    from pydantic import ValidationError

    from model.pretrain_config import PretrainConfig

    given = {}
    for text in overrides:
        name, _, value = text.removeprefix("pretrain.").partition("=")
        if not text.startswith("pretrain.") or name not in PretrainConfig.model_fields:
            raise typer.BadParameter(f"{text}: of a preset only pretrain.… can be changed; write a recipe", param_hint="--set")
        given[name] = value
    try:
        given = {name: yaml.safe_load(value) for name, value in given.items()}
        return PretrainConfig.model_validate(given)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"not YAML: {error}", param_hint="--set") from error
    except ValidationError as error:
        problem = error.errors()[0]
        raise typer.BadParameter(f"pretrain.{problem['loc'][0]}: {problem['msg']}", param_hint="--set") from error


def _print(found: dict[str, Any], hardware: str) -> None:
    from evaluation.training_memory import FORMULA as MEMORY
    from model.flops import FORMULA as FLOPS

    memory = found["memory_gib"]
    room = "fits" if found["fits"] else f"does NOT fit; what would: {found['change']}"
    beside = "" if found["mfu_is"] == "modelled" else f", {found['mfu_modelled']:.1%} modelled"
    print(table(["what", hardware], [
        ["parameters", f"{found['parameters']:,}"],
        ["tokens", f"{found['tokens']:,}"],
        *_layout(found),
        ["FLOPs per token", f"{found['flops_per_token']:.3g}"],
        *([f"memory: {name}", f"{value:,.2f} GiB"] for name, value in memory.items()),
        ["", f"of {found['gpu_memory_gib']:g} GiB, in micro-batches of {found['micro_batch_rows']}: {room}"],
        ["MFU", f"{found['mfu']:.1%} {found['mfu_is']}{beside}"],
        ["tokens per second and GPU", f"{found['tokens_per_second_per_gpu']:,.0f}"],
        ["time", f"{found['days']:,.1f} days, {found['gpu_hours']:,.0f} GPU hours"],
        ["energy", f"{found['mwh']:,.2f} MWh"],
        ["carbon", f"{found['tco2eq']:,.2f} tCO₂eq"],
        ["cost", f"{found['cost']:,.0f} dollars"],
        *_serving(found["inference"]),
        *_budget(found.get("inference_budget", {})),
    ]))  # fmt: skip
    print(f"\nFLOPs: {FLOPS}.\nMemory: {MEMORY}; activations tensor by tensor.")


def _layout(found: dict[str, Any]) -> list[list[str]]:
    """Teams of GPUs, those that would stand idle, and what lies in the hosts' memory: where there are such."""
    layout = found["layout"]
    rows, team = [], found["gpus"] // layout["data_parallel"]
    if team > 1:
        kind = "Ulysses" if layout["ulysses"] > 1 else "tensor parallel"
        spread = ", sequence too" if layout["sequence_parallel"] else ""
        rows.append(["teams", f"{layout['data_parallel']:,} of {team} GPUs, {kind}{spread}"])
    if found["gpus_idle"]:
        each = "a row of the batch each" if team == 1 else "a row of the batch for each team"
        rows.append(["GPUs at work", f"{found['gpus']:,}, {each}; {found['gpus_idle']:,} would stand idle, not counted below"])
    if layout["offload_optimizer"]:
        rows.append(["host memory: optimizer", f"{found['host_memory_gib']:,.2f} GiB for each GPU"])
    return rows


def _serving(inference: dict[str, float]) -> list[list[str]]:
    return [
        [
            "serving, bf16",
            f"{inference['weights_gib']:,.1f} GiB and {inference['cache_gib_per_context']:,.2f} GiB a full context",
        ],
        ["", f"{inference['gpus']:,} GPUs, {inference['contexts_at_once']:,} contexts at once"],
        ["", f"at most {inference['tokens_per_second']:,.0f} tokens/s ({inference['tokens_per_second_alone']:,.0f} alone)"],
        ["", f"at least {inference['dollars_per_million_tokens']:,.2f} dollars a million tokens"],
    ]


def _budget(rows: dict[str, dict[str, float]]) -> list[list[str]]:
    return [
        [name, f"{row['parameters'] / 1e9:,.1f} B on {row['tokens'] / 1e12:,.2f} T tokens: {row['flops']:.3g} FLOPs in all"]
        for name, row in rows.items()
    ]
