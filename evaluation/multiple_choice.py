"""Multiple choice by likelihood, zero- or few-shot (L1 §3): the choice that the model finds likeliest is its answer.

The likelihood of a choice is normalised by its number of characters; for OpenBookQA and BoolQ by its likelihood
after "Answer:" alone (`answer_prior`). Choices that tie share the credit, so a model that knows nothing scores
chance whatever the order of the choices.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import Field

from data.section import Section
from evaluation.confidence import wilson
from evaluation.language_model import LanguageModel, Likelihood

Item = Mapping[str, Any]  # id, question, choices: list of strings, answer: index of the right one, or its text
_PRIOR_CONTEXT = "Answer:"  # L1 §3
_FIELD = re.compile(r"\{(\w+)\}")


class MultipleChoiceConfig(Section):
    """How a task of choices is asked and scored."""

    shots: int = Field(default=0, ge=0)  # L1 §3: zero-shot common sense, 5-shot MMLU
    normalisation: Literal["characters", "tokens", "answer_prior"] = "characters"  # L1 §3
    max_items: int | None = Field(default=None, ge=1)  # chosen: all; else those with the smallest hash of their id
    template: str = "Question: {question}\nAnswer:"  # chosen: any string field of an item may stand in braces


@dataclass(frozen=True)
class Scores:
    """Accuracy with its 95 % Wilson interval, beside what a guesser would have."""

    accuracy: float
    ci95: tuple[float, float]
    n: int
    chance: float
    ties: int  # items whose best choice was not the only one

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, as kept in the metrics of an evaluation stage."""
        return {**asdict(self), "ci95": list(self.ci95)}


def evaluate(model: LanguageModel, items: Iterable[Item], config: MultipleChoiceConfig, examples: Sequence[Item] = ()) -> Scores:
    """Score `model` on `items`; the first `config.shots` of `examples` are shown with their answers.

    Raises ValueError for an item that cannot be asked, for too few examples, or if an example is also a question.
    """
    items = _selected([_checked(item) for item in items], config.max_items)
    if not items:
        raise ValueError("multiple choice: there are no items to score")
    shots = _shots(items, examples, config)
    contexts = [shots + _prompt(config.template, item) for item in items]
    likelihoods = _likelihoods(model, items, contexts, with_prior=config.normalisation == "answer_prior")
    credit, ties = 0.0, 0
    for item, context in zip(items, contexts, strict=True):
        scores = [_score(choice, context, likelihoods, config.normalisation) for choice in item["choices"]]
        best = [index for index, score in enumerate(scores) if score == max(scores)]
        credit += (item["answer"] in best) / len(best)
        ties += len(best) > 1
    chance = sum(1 / len(item["choices"]) for item in items) / len(items)
    return Scores(credit / len(items), wilson(credit, len(items)), len(items), chance, ties)


def evaluate_sets(model: LanguageModel, rows: Iterable[Mapping[str, Any]], config: MultipleChoiceConfig) -> dict[str, Scores]:
    """Scores by benchmark of rows of evaluation sets (`data.eval_sets.ITEMS`); one without an askable item is left out.

    Asked are the items of the split `test`, else all but `dev`, whose items are the examples. Raises ValueError.
    """
    by_benchmark: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_benchmark.setdefault(row["benchmark"], []).append(row)
    scores = {}
    for name, items in sorted(by_benchmark.items()):
        examples = askable(item for item in items if item["split"] == "dev")
        questions = askable([item for item in items if item["split"] == "test"] or (i for i in items if i["split"] != "dev"))
        if questions:
            scores[name] = evaluate(model, questions, config, examples)
    return scores


def askable(rows: Iterable[Mapping[str, Any]]) -> list[Item]:
    """Of the rows of an evaluation set (`data.eval_sets.ITEMS`), those with a question, choices and one that is right.

    Published sets hold some in which the right choice stands twice; these are not asked.
    """
    return [row for row in rows if row["question"] and row["choices"] and list(row["choices"]).count(row["answer"]) == 1]


def _checked(item: Item) -> Item:
    name = f"item {item.get('id')!r}"
    choices, answer = item.get("choices"), item.get("answer")
    if not isinstance(choices, Sequence) or isinstance(choices, str) or len(choices) < 2:
        raise ValueError(f"{name}: expected a list of two or more choices, got {choices!r}")
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        raise ValueError(f"{name}: every choice must be a text that is not empty")
    if isinstance(answer, str) and list(choices).count(answer) == 1:
        return {**item, "answer": list(choices).index(answer)}
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise ValueError(f"{name}: expected an answer from 0 to {len(choices) - 1}, got {answer!r}")
    return item


def _selected(items: list[Item], max_items: int | None) -> list[Item]:
    if max_items is None or len(items) <= max_items:
        return items
    return sorted(items, key=lambda item: hashlib.sha256(str(item["id"]).encode()).digest())[:max_items]


def _shots(items: list[Item], examples: Sequence[Item], config: MultipleChoiceConfig) -> str:
    shown = [_checked(example) for example in examples[: config.shots]]
    if len(shown) < config.shots:
        raise ValueError(f"multiple choice: {config.shots} shots asked for, {len(shown)} examples given")
    asked = {_prompt(config.template, item) for item in items}
    for example in shown:
        if _prompt(config.template, example) in asked:
            raise ValueError(f"multiple choice: example {example.get('id')!r} is also a question: it would show its answer")
    return "".join(f"{_prompt(config.template, example)} {example['choices'][example['answer']]}\n\n" for example in shown)


def _prompt(template: str, item: Item) -> str:
    def field(match: re.Match[str]) -> str:
        if not isinstance(item.get(match[1]), str):
            raise ValueError(f"item {item.get('id')!r}: the template needs the text {match[1]!r}, which it lacks")
        return str(item[match[1]])

    return _FIELD.sub(field, template)


def _likelihoods(
    model: LanguageModel, items: list[Item], contexts: list[str], with_prior: bool
) -> dict[tuple[str, str], Likelihood]:
    """Every distinct (context, completion) once, so that equal choices tie exactly and cost nothing."""
    pairs: dict[tuple[str, str], None] = {}
    for item, context in zip(items, contexts, strict=True):
        for choice in item["choices"]:
            pairs[context, " " + choice] = None
            if with_prior:
                pairs[_PRIOR_CONTEXT, " " + choice] = None
    return dict(zip(pairs, model.loglikelihood(list(pairs)), strict=True))


def _score(choice: str, context: str, likelihoods: Mapping[tuple[str, str], Likelihood], normalisation: str) -> float:
    likelihood = likelihoods[context, " " + choice]
    if normalisation == "answer_prior":
        return likelihood.logprob - likelihoods[_PRIOR_CONTEXT, " " + choice].logprob
    return likelihood.logprob / (likelihood.tokens if normalisation == "tokens" else len(choice))
