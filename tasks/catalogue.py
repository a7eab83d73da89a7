"""The stages of a recipe, in order: the paper's table of contents as data.

Every stage names its body, the part of the recipe it reads and the stages it takes in; plan, engine, flows and status
all work from this list and nothing else.
"""

import difflib
import fnmatch

from data.quality import QualityRules
from data.reference import ReferenceConfig
from model.pretrain_config import TrainingRefused, batch_rows, step_count
from tasks.raw_inputs import DIALOGUES, patterns, referenced_stages
from tasks.recipe import Recipe, RecipeError, Round
from tasks.stage import Stage

DEDUPLICATED = {"c4": "c4-dedup", "github": "github-dedup", "books": "books-dedup"}


def stages(recipe: Recipe) -> list[Stage]:
    """Every stage of the recipe; each comes after those it takes in."""
    found = _demo(recipe)
    for source in recipe.sources.present():
        found += _acquire(recipe, source)
    if recipe.sources.wikipedia:
        found.append(_read("wikipedia"))
    for source in recipe.sources.present():
        if source not in ("commoncrawl", "wikipedia"):
            found.append(_read(source))
    if recipe.sources.commoncrawl:
        found += _commoncrawl(recipe)
    found += _deduplicate(recipe)
    cleaned = {source: _last_of(recipe, source) for source in recipe.sources.present()}
    found += _together(recipe, cleaned) + _train(recipe) + _align(recipe) + _evaluate(recipe)
    return _with_adopted(_checked(found), recipe.adopted)


def _checked(found: list[Stage]) -> list[Stage]:
    """RecipeError when a `STAGE:glob` names a stage that this recipe lacks."""
    known = {stage.name for stage in found}
    for stage in found:
        for name in stage.inputs:
            if name not in known:
                raise RecipeError(
                    f"{stage.name}: takes files of {name!r}, which is no stage of this recipe; "
                    f"its stages are {', '.join(sorted(known))}"
                )
    return found


def _with_adopted(found: list[Stage], adopted: dict[str, str]) -> list[Stage]:
    """Put artifacts from outside in the place of stages, and leave out what only led to those."""
    if not adopted:
        return found
    unknown = sorted(set(adopted) - {stage.name for stage in found})
    if unknown:
        raise RecipeError(
            f"adopted.{unknown[0]}: no such stage in this recipe; its stages are {', '.join(stage.name for stage in found)}"
        )
    wanted = {stage.name for stage in found} - {name for stage in found for name in stage.depends_on}
    placed = [
        Stage(s.name, s.body, kind=s.kind, group=s.group, adopted=adopted[s.name]) if s.name in adopted else s for s in found
    ]
    for stage in reversed(placed):
        if stage.name in wanted:
            wanted |= set(stage.depends_on)
    return [stage for stage in placed if stage.name in wanted]


def find_stage(recipe: Recipe, name: str) -> Stage:
    """The stage called `name`, or a RecipeError that suggests the nearest."""
    known = {stage.name: stage for stage in stages(recipe)}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"its stages are {', '.join(known)}"
    raise RecipeError(f"{name}: no such stage in this recipe; {hint}")


def downstream(recipe: Recipe, names: set[str]) -> set[str]:
    """The named stages and every stage that depends on one of them."""
    reached = set(names)
    for stage in stages(recipe):
        if reached & set(stage.depends_on):
            reached.add(stage.name)
    return reached


def upstream(recipe: Recipe, names: set[str]) -> set[str]:
    """The named stages and every stage that one of them depends on."""
    needed = set(names)
    for stage in reversed(stages(recipe)):
        if stage.name in needed:
            needed |= set(stage.depends_on)
    return needed


def selection(recipe: Recipe, first: str | None, until: str | None, only: str | None) -> set[str]:
    """Names chosen by `--from`, `--until` and `--only`: from a stage on (with what follows), until a stage, or just those
    whose name fits, with the parts of other stages that they take in."""
    chosen = {stage.name for stage in stages(recipe)}
    if only:
        fitting = fnmatch.filter(chosen, only) or [find_stage(recipe, only).name]
        taken = {name for stage in stages(recipe) if stage.name in fitting for name in stage.inputs}
        return {*fitting, *(stage.name for stage in stages(recipe) if stage.part_of and stage.name in taken)}
    if first:
        chosen &= downstream(recipe, {find_stage(recipe, first).name})
    if until:
        chosen &= upstream(recipe, {find_stage(recipe, until).name})
    if not chosen:
        raise RecipeError(f"--from {first} --until {until}: no stage lies between them")
    return chosen


def _demo(recipe: Recipe) -> list[Stage]:
    if recipe.demo_corpora is None:
        return []
    body = "tasks.demo_corpora:build_corpora"
    return [Stage("demo-corpora", body, reads=("demo_corpora",), seeded=True, environment=True, group="corpora")]


def _acquire(recipe: Recipe, source: str) -> list[Stage]:
    return [Stage(f"acquire-{source}", "tasks.acquire:list_raw_files", referenced_stages(patterns(recipe, source)), raw=source)]


def _read(source: str) -> Stage:
    reads = (f"sources.{source}.read", f"sources.{source}.shard_bytes")
    return Stage(f"{source}-read", f"tasks.read:read_{source}", (f"acquire-{source}",), reads, raw=source)


def _commoncrawl(recipe: Recipe) -> list[Stage]:
    """The CCNet chain and the reference classifier (L1 §2.1)."""
    chain = [
        _read("commoncrawl"),
        Stage("commoncrawl-lines", "tasks.commoncrawl:deduplicate_lines", ("commoncrawl-read",), ("sources.commoncrawl.lines",)),
        Stage(
            "commoncrawl-language-scores",
            "tasks.commoncrawl:score_languages",
            ("commoncrawl-lines",),
            ("sources.commoncrawl.language.model",),
        ),
        Stage(
            "commoncrawl-language",
            "tasks.commoncrawl:identify_language",
            ("commoncrawl-lines", "commoncrawl-language-scores"),
            ("sources.commoncrawl.language",),
        ),
        Stage(
            "commoncrawl-lm",
            "tasks.commoncrawl:train_language_models",
            ("wikipedia-read",),
            ("sources.commoncrawl.lm", "sources.commoncrawl.language.languages"),
            seeded=True,
        ),
        Stage(
            "commoncrawl-perplexity-scores",
            "tasks.commoncrawl:score_perplexities",
            ("commoncrawl-language", "commoncrawl-lm"),
        ),
        Stage(
            "commoncrawl-perplexity",
            "tasks.commoncrawl:sort_by_perplexity",
            ("commoncrawl-language", "commoncrawl-perplexity-scores"),
            ("sources.commoncrawl.perplexity",),
        ),
    ]
    if recipe.sources.commoncrawl and recipe.sources.commoncrawl.reference:
        place = "sources.commoncrawl.reference"
        chain += [
            Stage(
                "commoncrawl-reference-scores",
                "tasks.commoncrawl:score_references",
                ("commoncrawl-perplexity", "wikipedia-read"),
                tuple(f"{place}.{name}" for name in ReferenceConfig.model_fields if name != "threshold"),
                seeded=True,
                draws_as="commoncrawl-reference",
            ),
            Stage(
                "commoncrawl-reference",
                "tasks.commoncrawl:keep_references",
                ("commoncrawl-perplexity", "commoncrawl-reference-scores"),
                (f"{place}.threshold",),
            ),
        ]
    return chain


def _deduplicate(recipe: Recipe) -> list[Stage]:
    bodies = {"c4": "deduplicate_c4", "github": "deduplicate_github", "books": "deduplicate_books"}
    return [
        Stage(DEDUPLICATED[source], f"tasks.deduplicate:{body}", (f"{source}-read",), (f"sources.{source}.dedup",))
        for source, body in bodies.items()
        if source in recipe.sources.present()
    ]


def _last_of(recipe: Recipe, source: str) -> str:
    if source == "commoncrawl":
        assert recipe.sources.commoncrawl is not None
        return "commoncrawl-reference" if recipe.sources.commoncrawl.reference else "commoncrawl-perplexity"
    return DEDUPLICATED.get(source, f"{source}-read")


def _quality(recipe: Recipe, cleaned: dict[str, str]) -> tuple[list[Stage], tuple[str, ...]]:
    """Scores and rules of quality over the sources that they are for, and the stages whose documents go on."""
    config = recipe.quality
    chosen = tuple(cleaned[source] for source in cleaned if source in config.sources)
    if not config.enabled or not chosen:
        return [], tuple(cleaned.values())
    found = []
    if config.scored:
        found.append(Stage("quality-scores", "tasks.quality:score_documents", chosen, ("quality.scores",)))
    reads = tuple(f"quality.{name}" for name in QualityRules._fields)
    found.append(Stage("quality", "tasks.quality:keep_documents", (*chosen, *(stage.name for stage in found)), reads))
    return found, ("quality", *(stage for stage in cleaned.values() if stage not in chosen))


def _together(recipe: Recipe, cleaned: dict[str, str]) -> list[Stage]:
    """Steps over all sources: quality, near-duplicates, decontamination, split, tokenizer, mixture."""
    found, last = _quality(recipe, cleaned)
    if recipe.near_dedup.enabled:
        body, given = "tasks.together:remove_near_duplicates", recipe.near_dedup.earlier
        found += [Stage(f"earlier-{number}", body, adopted=fingerprint) for number, fingerprint in enumerate(given, 1)]
        earlier = tuple(f"earlier-{number}" for number in range(1, len(given) + 1))
        found.append(Stage("near-dedup", body, (*last, *earlier), ("near_dedup",)))
        last = ("near-dedup", *earlier)
    if recipe.evaluation.benchmarks:
        makers = referenced_stages([item for given in recipe.evaluation.benchmarks.values() for item in given])
        found.append(Stage("eval-sets", "tasks.together:collect_eval_sets", makers, raw="evaluation"))
    if recipe.decontaminate.enabled:
        if not recipe.evaluation.benchmarks:
            raise RecipeError("decontaminate.enabled: there is no benchmark to protect; name files under evaluation.benchmarks")
        found.append(Stage("decontaminate", "tasks.together:decontaminate_corpora", (*last, "eval-sets"), ("decontaminate",)))
        last = ("decontaminate",)
    found.append(Stage("split", "tasks.together:split_validation", last, ("split", "near_dedup"), seeded=True, group="mixture"))
    if recipe.corpus_statistics.enabled:
        body, place = "tasks.statistics:describe_corpora", ("corpus_statistics",)
        found.append(Stage("corpus-statistics", body, ("split",), place, seeded=True, group="mixture"))
    reads = ("tokenizer", "mixture.shares")
    found.append(Stage("tokenizer", "tasks.mixture:train_the_tokenizer", ("split",), reads, seeded=True, group="mixture"))
    found.append(
        Stage(
            "mix",
            "tasks.mixture:mix_corpora",
            ("split", "tokenizer"),
            ("mixture", "model.context_length"),
            seeded=True,
            group="mixture",
        )
    )
    return found


def _train(recipe: Recipe) -> list[Stage]:
    """The base model, and its weights on the way to it (L1 Fig. 1-2)."""
    reads = ("model", "pretrain")
    base = Stage(
        "pretrain", "tasks.pretrain:train_base", ("mix", "tokenizer"), reads, kind="training", seeded=True, group="pretrain"
    )
    return [base, *(checkpoint_of(base, step) for step in _published_steps(recipe))]


def checkpoint_of(pretrain: Stage, step: int) -> Stage:
    """The stage that stands for the weights of one step; it is there while `pretrain` still trains."""
    return pretrain.part(str(step), "tasks.pretrain:take_checkpoint")


def _published_steps(recipe: Recipe) -> list[int]:
    """Steps before the last whose weights are published; none where the mixture comes from outside and may have any size."""
    config, context = recipe.pretrain, recipe.model.context_length
    if config.publish_every is None or "pretrain" in recipe.adopted or ("mix" in recipe.adopted and config.steps is None):
        return []
    try:
        rows = batch_rows(config, context)
        last = config.steps or step_count(config, recipe.mixture.total_tokens // context, rows)
    except TrainingRefused:  # training says so itself
        return []
    return list(range(config.publish_every, last, config.publish_every))


def _align(recipe: Recipe) -> list[Stage]:
    """Instructions, comparisons and prompts; SFT, reward models, rounds (L2 §3)."""
    found: list[Stage] = []
    for name in DIALOGUES:
        if getattr(recipe, name) is not None:
            made_by = referenced_stages(patterns(recipe, name))
            found.append(Stage(f"acquire-{name}", "tasks.acquire:list_raw_files", made_by, raw=name, group="align"))
            body = f"tasks.alignment:read_{name}"
            found.append(Stage(f"{name}-read", body, (f"acquire-{name}",), (f"{name}.read",), raw=name, group="align"))
    if recipe.sft is None:
        return found
    found.append(_tuning("sft", "tune_on_instructions", ("pretrain", "instructions-read"), ("sft",)))
    if recipe.reward is None:
        return found
    for kind in ("helpfulness", "safety"):
        found.append(_tuning(f"reward-{kind}", f"train_{kind}_reward", ("sft", "preferences-read"), (f"reward.{kind}",)))
    newest = "sft"
    for number, turn in enumerate(recipe.rounds, 1):
        found += _round(number, turn, newest, [stage.name for stage in found if stage.name.endswith("-select")])
        newest = found[-1].name
    return found


def _round(number: int, turn: Round, newest: str, earlier: list[str]) -> list[Stage]:
    """One turn of RLHF (L2 §3.2.3): sample, select, tune from the base model; then PPO on top."""
    name, place = f"round{number}", f"rounds.{number - 1}"
    judges = ("reward-helpfulness", "reward-safety", "prompts-read")
    found = []
    if turn.sample is not None:
        body, reads = "tasks.alignment:sample_answers", (f"{place}.sample", f"{place}.select")
        found.append(Stage(f"{name}-sample", body, (newest, *judges), reads, kind="training", seeded=True, group="align"))
        inputs = (f"{name}-sample", "prompts-read", *earlier[-1:])  # a selection holds those before it
        found.append(Stage(f"{name}-select", "tasks.alignment:select_answers", inputs, (f"{place}.select",), group="align"))
        reads = (f"{place}.tune", f"{place}.with_instructions")
        found.append(_tuning(f"{name}-tune", "tune_on_selected", ("pretrain", f"{name}-select", "instructions-read"), reads))
        newest = f"{name}-tune"
    if turn.ppo is not None:
        body = "tasks.alignment:tune_by_ppo"
        found.append(
            Stage(f"{name}-ppo", body, (newest, *judges), (f"{place}.ppo",), kind="training", seeded=True, group="align")
        )
    return found


def _tuning(name: str, body: str, inputs: tuple[str, ...], reads: tuple[str, ...]) -> Stage:
    return Stage(name, f"tasks.alignment:{body}", inputs, reads, kind="training", seeded=True, tuning=True, group="align")


def _evaluate(recipe: Recipe) -> list[Stage]:
    """Benchmarks of the base model's checkpoints and of every version; versions also by the reward models."""
    found: list[Stage] = []
    scored = ("evaluation.multiple_choice",)
    if recipe.evaluation.benchmarks:
        reads, held_out = (*scored, "evaluation.perplexity"), ("split",) if "pretrain" not in recipe.adopted else ()
        for step in _published_steps(recipe):
            one = ("tasks.evaluate:evaluate_checkpoint", (f"pretrain@{step}", "eval-sets", *held_out), reads)
            found.append(Stage(f"evaluate-pretrain@{step}", *one, kind="evaluation", group="evaluate"))
        body, base = "tasks.evaluate:evaluate_base", ("pretrain", "eval-sets", *held_out, *(stage.name for stage in found))
        found.append(Stage("evaluate-pretrain", body, base, reads, kind="evaluation", version=2, group="evaluate"))
    if recipe.reward is None or not recipe.evaluation.benchmarks:
        return found
    judges = ("eval-sets", "prompts-read", "reward-helpfulness", "reward-safety")
    for stage in [stage.name for stage in _align(recipe) if stage.name == "sft" or stage.name.endswith(("-tune", "-ppo"))]:
        inputs: tuple[str, ...] = (stage, *judges)
        if stage == "sft":
            inputs += ("pretrain",)
        reads = (*scored, "evaluation.held_out")
        found.append(Stage(f"evaluate-{stage}", "tasks.evaluate:evaluate_version", inputs, reads, "evaluation", 2, "evaluate"))
    return found
