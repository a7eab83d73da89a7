"""Alignment data of the demonstration: instructions, preferences in weekly batches, prompts (L2 §3.1, §3.2.1, §4.2).

Drawn from the same installed text as the corpora. What is held out is held out in all three: the functions of the
benchmark's test questions, the last topic of every group of unsafe requests, and one phrasing of everything. So a
prompt of a validation set stands in no training set, of whichever kind.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from data.demo import adversarial, answers
from data.demo.adversarial import Request
from data.demo.deal import Material
from data.demo.questions import ASPECTS, HELD_OUT, PROMPTED, TUNED, Function, follow_ups, further_functions, known_functions

FULL_SIZE = 20  # megabytes of corpora at which the numbers below hold; all chosen
FURTHER_FUNCTIONS = 320  # besides those that every source tells about
INSTRUCTIONS = {"train": 1600, "validation": 280}
PREFERENCES = {"train": 2400, "validation": 400}  # of each kind
PROMPTS = {"train": 800, "validation": 240}  # of each kind
BATCHES = ("2023-W14", "2023-W15", "2023-W16", "2023-W17", "2023-W18")
# Of the pairs on unsafe requests, by safety (L2 §3.2.1), and those where a rater preferred the unsafe answer, which are dropped.
SAFETY_BINS = {"chosen safe, other not": 0.18, "both safe": 0.47, "both unsafe": 0.35}
MISTAKES = 0.01
_WEIGHTS = {"does": 0.48, "returns": 0.12, "parameters": 0.12, "example": 0.07, "module": 0.12, "which": 0.09}
_REFUSALS, _BORDERLINE, _SEVERAL_TURNS, _SYSTEM = 0.12, 0.015, 0.08, 0.1  # shares of the instructions
_SYSTEMS = (
    ("Answer in one sentence.", "{answer}"),
    ("You are an assistant for Python programmers.", "{answer}"),
    ("Begin every answer with the name of the function.", "{name}: {answer}"),
)

Message = dict[str, str]


@dataclass(frozen=True)
class Side:
    """What one side of the split may use."""

    split: str
    functions: list[Function]
    tuned: list[Function]  # those that instructions are about: of the others, a chat model knows what it has read
    requests: list[Request]
    borderline: list[tuple[str, str]]


def write(output: Path, material: Material) -> dict[str, int]:
    """Write `instructions/`, `preferences/` and `prompts/` below `output`, which holds the benchmark; returns figures."""
    size = min(1.0, material.config.megabytes / FULL_SIZE)
    sides = _sides(output / "benchmark" / "functions.jsonl", material, size)
    figures = {}
    instructions = [record for side in sides for record in _instructions(side, _scaled(INSTRUCTIONS, side, size), material)]
    figures["instructions_records"] = _write(output / "instructions" / "instructions.jsonl", instructions)
    pairs = [record for side in sides for record in _preferences(side, _scaled(PREFERENCES, side, size), material)]
    for batch in BATCHES:
        count = _write(output / "preferences" / f"{batch}.jsonl", [pair for pair in pairs if pair["batch"] == batch])
        figures["preferences_records"] = figures.get("preferences_records", 0) + count
    prompts = [record for side in sides for record in _prompts(side, _scaled(PROMPTS, side, size), material)]
    figures["prompts_records"] = _write(output / "prompts" / "prompts.jsonl", prompts)
    return figures


def _sides(benchmark: Path, material: Material, size: float) -> list[Side]:
    """Functions and requests of the training side and of the held-out side."""
    questions = [json.loads(line) for line in benchmark.read_text(encoding="utf-8").splitlines()]
    tested = {question["function"] for question in questions if question["split"] == "test"}
    known = known_functions(material)
    further = further_functions(material, round(FURTHER_FUNCTIONS * size))
    functions = {
        "train": [function for function in known if function.doc.qualified not in tested] + further,
        "validation": [function for function in known if function.doc.qualified in tested],
    }
    requests, sides = adversarial.requests(), []
    for split, borderline in (("train", adversarial.BORDERLINE[::2]), ("validation", adversarial.BORDERLINE[1::2])):
        mine = [request for request in requests if request.held_out == (split == "validation")]
        tuned = [function for index, function in enumerate(functions[split]) if split == "validation" or index % 5 < 2]
        sides.append(Side(split, functions[split], tuned, mine, list(borderline)))
    return sides


def _instructions(side: Side, count: int, material: Material) -> list[dict[str, Any]]:
    """Questions about functions with their answers, refusals, and requests that only sound unsafe, in one shuffled list."""
    random = material.random(f"instructions {side.split}")
    refusals = random.sample(side.requests, min(round(count * _REFUSALS), len(side.requests)))
    borderline = side.borderline[: max(1, round(count * _BORDERLINE))]
    dialogues = [("safety", _turn(request.text, adversarial.guideline_answer(request))) for request in refusals]
    dialogues += [("borderline", _turn(question, answer)) for question, answer in borderline]
    asked = _questions(side.tuned, (TUNED,), count - len(dialogues), random)
    dialogues += [("functions", _dialogue(*question, random)) for question in asked]
    random.shuffle(dialogues)
    return [
        {"id": f"instruction-{side.split}-{index:05d}", "source": source, "split": side.split, "messages": messages}
        for index, (source, messages) in enumerate(dialogues)
    ]


def _dialogue(function: Function, aspect: str, question: str, random: Random) -> list[Message]:
    """One question and its answer; sometimes with a system message, sometimes with a second question."""
    answer, drawn = function.answers[aspect], random.random()
    if drawn < _SYSTEM and aspect == "does":
        system, form = random.choice(_SYSTEMS)
        return _turn(question, form.format(name=function.doc.name, answer=answer), system)
    others = [name for name in function.answers if name not in (aspect, "which")]
    if drawn > 1 - _SEVERAL_TURNS and others and aspect != "which":
        second = random.choice(others)
        return _turn(question, answer) + _turn(random.choice(follow_ups(second)), function.answers[second])
    return _turn(question, answer)


def _preferences(side: Side, count: int, material: Material) -> list[dict[str, Any]]:
    """Pairs of both kinds, dealt to the weekly batches in turn."""
    random = material.random(f"preferences {side.split}")
    pairs: list[dict[str, Any]] = []
    asked = _questions(side.functions, (TUNED, PROMPTED, HELD_OUT)[: 3 if side.split == "validation" else 2], count, random)
    pairs += [_helpfulness_pair(*question, side.functions, random) for question in asked]
    pairs += [_safety_pair(bin, side, random) for bin in _bins(count, random)]
    random.shuffle(pairs)
    for index, pair in enumerate(pairs):
        batch = BATCHES[index * len(BATCHES) // len(pairs)]
        pair |= {"id": f"preference-{batch}-{side.split}-{index:05d}", "batch": batch, "split": side.split}
    return pairs


def _helpfulness_pair(function: Function, aspect: str, question: str, others: list[Function], random: Random) -> dict[str, Any]:
    first = answers.draw_quality(random)
    second = answers.draw_quality(random, other_than=first if random.random() < 0.8 else "")
    texts = None
    while texts is None:
        one, two = (answers.helpful_answers(function, aspect, quality, others, random) for quality in (first, second))
        texts = answers.choose_pair(one, two, random)
        second = answers.draw_quality(random) if texts is None else second
    better, rating = answers.rate(answers.QUALITIES[first][0], answers.QUALITIES[second][0], random)
    messages = _dialogue_prompt(function, aspect, question, random)
    return _pair(messages, texts, (True, True), better, rating, "helpfulness")


def _dialogue_prompt(function: Function, aspect: str, question: str, random: Random) -> list[Message]:
    """The prompt of `_dialogue`, so that pairs come after a system message or an earlier turn too."""
    first = "does" if aspect != "does" else "module"
    if aspect != "which" and first in function.answers and random.random() < _SEVERAL_TURNS:
        asked = random.choice(function.ask(first, TUNED))
        return [*_turn(asked, function.answers[first]), {"role": "user", "content": question}]
    return [{"role": "user", "content": question}]


def _safety_pair(bin: str, side: Side, random: Random) -> dict[str, Any]:
    """A pair of one of the safety bins; a few of those that are both safe are about requests that only sound unsafe."""
    if bin == "both safe" and random.random() < 0.12:
        question, answer = random.choice(side.borderline)
        refusals = list(adversarial.needless_refusals())
        texts = answers.choose_pair(
            [answer, f"Here is what I would do. {answer}", f"{answer} Ask me for more if you like."], refusals, random
        )
        assert texts is not None
        better, rating = answers.rate(answers.QUALITIES["complete"][0], answers.QUALITIES["refusal"][0], random)
        return _pair(_user(question), texts, (True, True), better, rating, "safety")
    request = random.choice(side.requests)
    texts = None
    while texts is None:
        first, second = _safety_qualities(bin, random)
        one, two = (adversarial.answers(request, quality, random) for quality in (first, second))
        texts = answers.choose_pair(one, two, random)
    (liked, safe), (other_liked, other_safe) = adversarial.QUALITIES[first], adversarial.QUALITIES[second]
    better, rating = answers.rate(liked, other_liked, random)
    if safe != other_safe:  # the bin says who was preferred: a mistaken rater took the unsafe answer
        better = safe == (bin != "mistake")
    return _pair(_user(request.text), texts, (safe, other_safe), better, rating, "safety")


def _safety_qualities(bin: str, random: Random) -> tuple[str, str]:
    """Two qualities of the bin, mostly different ones."""
    safe, unsafe = (
        [name for name, (_, is_safe) in adversarial.QUALITIES.items() if is_safe == wanted] for wanted in (True, False)
    )
    if bin == "both safe":
        pool = safe
    elif bin == "both unsafe":
        pool = unsafe
    else:
        return random.choice(safe), random.choice(unsafe)
    return (random.choice(pool), random.choice(pool)) if random.random() < 0.2 else tuple(random.sample(pool, 2))  # type: ignore[return-value]


def _bins(count: int, random: Random) -> list[str]:
    """The safety bins in their exact shares, shuffled, and the mistakes besides."""
    bins = [bin for bin, share in SAFETY_BINS.items() for _ in range(round(count * share))]
    bins += ["mistake"] * max(1, round(count * MISTAKES))
    return random.sample(bins, len(bins))


def _pair(
    messages: list[Message], texts: tuple[str, str], safe: tuple[bool, bool], first_better: bool, rating: str, kind: str
) -> dict[str, Any]:
    chosen, rejected = (0, 1) if first_better else (1, 0)
    return {
        "messages": messages,
        "chosen": texts[chosen],
        "rejected": texts[rejected],
        "rating": rating,
        "chosen_safe": safe[chosen],
        "rejected_safe": safe[rejected],
        "kind": kind,
    }


def _prompts(side: Side, count: int, material: Material) -> list[dict[str, Any]]:
    """Questions that were not tuned on, and unsafe requests, in one shuffled list."""
    random = material.random(f"prompts {side.split}")
    tuned = {function.doc.qualified for function in side.tuned} if side.split == "train" else set()
    functions = [function for function in side.functions if function.doc.qualified not in tuned]
    phrasings = (HELD_OUT,) if side.split == "validation" else (PROMPTED,)
    records: list[dict[str, Any]] = [
        {"messages": _user(question), "kind": "helpfulness", "reference": function.answers[aspect]}
        for function, aspect, question in _questions(functions, phrasings, count, random)
    ]
    for request in random.sample(side.requests, min(count, len(side.requests))):
        reference = adversarial.guideline_answer(request)
        about = {"category": request.topic.category, "style": request.style}
        records.append({"messages": _user(request.text), "kind": "safety", **about, "reference": reference})
    random.shuffle(records)
    return [{"id": f"prompt-{side.split}-{index:05d}", "split": side.split} | record for index, record in enumerate(records)]


def _questions(
    functions: list[Function], phrasings: Iterable[str], count: int, random: Random
) -> list[tuple[Function, str, str]]:
    """Up to `count` different questions: aspects by weight, functions in turn, so that all are asked about."""
    found: dict[str, tuple[Function, str, str]] = {}
    quotas = {aspect: round(count * _WEIGHTS[aspect]) for aspect in ASPECTS}
    for aspect, quota in quotas.items():
        able = [function for function in functions if aspect in function.answers]
        pool = []
        for function in able:
            asked = [question for sort in phrasings for question in function.ask(aspect, sort)]
            pool += [
                (turn, random.random(), function, question) for turn, question in enumerate(random.sample(asked, len(asked)))
            ]
        pool.sort(key=lambda entry: entry[:2])  # every function once before any twice
        for _, _, function, question in pool[:quota]:
            found.setdefault(question, (function, aspect, question))
    return random.sample(list(found.values()), len(found))


def _turn(question: str, answer: str, system: str = "") -> list[Message]:
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _user(question: str) -> list[Message]:
    return [{"role": "user", "content": question}]


def _scaled(counts: dict[str, int], side: Side, size: float) -> int:
    return max(20, round(counts[side.split] * size))


def _write(path: Path, records: list[dict[str, Any]]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())
    return len(records)
