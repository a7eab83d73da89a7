"""Scores against models that know the answer, know nothing, or like short answers; and against brute force."""

import math
import random

import pytest

from evaluation.confidence import wilson
from evaluation.language_model import Likelihood
from evaluation.multiple_choice import MultipleChoiceConfig, askable, evaluate

ITEMS = [
    {"id": f"q{n}", "question": f"What is {n} + {n}?", "choices": [str(2 * n), str(2 * n + 1), "no idea"], "answer": 0}
    for n in range(40)
]


class Oracle:
    """A model whose log-probabilities are a function of the pair; remembers what it was asked."""

    def __init__(self, logprob):
        self.logprob, self.asked = logprob, []

    def loglikelihood(self, pairs):
        self.asked += pairs
        return [Likelihood(self.logprob(*pair), max(1, len(pair[1].split()))) for pair in pairs]


def knows(context, completion):
    n = int(context.split("What is ")[-1].split()[0])
    return -0.1 if completion == f" {2 * n}" else -50.0


def test_a_model_that_knows_scores_one():
    scores = evaluate(Oracle(knows), ITEMS, MultipleChoiceConfig())
    assert scores.accuracy == 1.0 and scores.ties == 0 and scores.n == 40
    assert scores.ci95 == pytest.approx(wilson(40, 40)) and scores.ci95[1] == 1.0


def test_a_model_that_knows_nothing_is_at_chance_and_every_item_ties():
    items = [*ITEMS, {"id": "two", "question": "?", "choices": ["yes", "not"], "answer": 1}]
    scores = evaluate(Oracle(lambda context, completion: -float(len(completion) - 1)), items, MultipleChoiceConfig())
    assert scores.accuracy == pytest.approx(scores.chance) == pytest.approx((40 / 3 + 1 / 2) / 41)
    assert scores.ties == 41


def test_normalisations_differ_as_defined():
    item = {"id": "a", "question": "?", "choices": ["aa", "b b b b"], "answer": 0}
    table = {(" aa"): -4.0, (" b b b b"): -12.0}
    prior = {(" aa"): -1.0, (" b b b b"): -11.0}

    def logprob(context, completion):
        return (prior if context == "Answer:" else table)[completion]

    chosen = {
        name: evaluate(Oracle(logprob), [item], MultipleChoiceConfig(normalisation=name))
        for name in ("characters", "tokens", "answer_prior")
    }
    assert chosen["characters"].accuracy == 0.0  # -4/2 < -12/7
    assert chosen["tokens"].accuracy == 0.0  # -4/1 < -12/4
    assert chosen["answer_prior"].accuracy == 0.0  # -3 < -1
    assert (
        evaluate(
            Oracle(lambda c, x: table[x]), [{**item, "choices": ["aa", "b b b b"], "answer": 1}], MultipleChoiceConfig()
        ).accuracy
        == 1.0
    )


def test_equals_brute_force_on_random_likelihoods():
    draw = random.Random(3)
    items = [
        {
            "id": str(n),
            "question": f"q{n}",
            "choices": [f"{'x' * draw.randint(1, 9)}{n}{c}" for c in range(draw.randint(2, 5))],
            "answer": 1,
        }
        for n in range(200)
    ]
    model = Oracle(lambda context, completion: -random.Random(context + completion).uniform(1, 40))
    right = 0
    for item in items:
        scores = [
            model.logprob(f"Question: {item['question']}\nAnswer:", " " + choice) / len(choice) for choice in item["choices"]
        ]
        right += scores.index(max(scores)) == 1
    assert evaluate(model, items, MultipleChoiceConfig()).accuracy == right / 200


def test_shots_are_shown_with_answers_and_never_the_question_itself():
    examples = [
        {"id": f"s{n}", "question": f"What is {n} + {n}?", "choices": ["0", str(2 * n)], "answer": 1} for n in (50, 51, 52)
    ]
    model = Oracle(knows)
    assert evaluate(model, ITEMS[:1], MultipleChoiceConfig(shots=2), examples).accuracy == 1.0
    assert model.asked[0][0] == "".join(
        f"Question: What is {n} + {n}?\nAnswer:{a}" for n, a in ((50, " 100\n\n"), (51, " 102\n\n"), (0, ""))
    )
    with pytest.raises(ValueError, match="is also a question"):
        evaluate(model, ITEMS, MultipleChoiceConfig(shots=1), [ITEMS[7]])
    with pytest.raises(ValueError, match="3 shots asked for, 1 examples given"):
        evaluate(model, ITEMS, MultipleChoiceConfig(shots=3), examples[:1])


def test_max_items_takes_the_same_items_in_any_order():
    first, second = Oracle(knows), Oracle(knows)
    evaluate(first, ITEMS, MultipleChoiceConfig(max_items=7))
    evaluate(second, ITEMS[::-1], MultipleChoiceConfig(max_items=7))
    assert first.asked == second.asked and len({context for context, _ in first.asked}) == 7


def test_braces_in_an_item_are_text():
    item = {"id": "x", "question": "{answer} {0} {id.__class__}", "choices": ["a", "b"], "answer": 0}
    model = Oracle(lambda context, completion: -1.0)
    evaluate(model, [item], MultipleChoiceConfig(template="{question}!"))
    assert model.asked[0][0] == "{answer} {0} {id.__class__}!"


@pytest.mark.parametrize(
    "change", [{"answer": 3}, {"answer": True}, {"answer": "A"}, {"choices": ["a"]}, {"choices": ["a", " "]}, {"choices": "ab"}]
)
def test_an_item_that_cannot_be_asked_is_refused(change):
    with pytest.raises(ValueError, match="item 'q0'"):
        evaluate(Oracle(knows), [{**ITEMS[0], **change}], MultipleChoiceConfig())


def test_a_row_of_an_evaluation_set_names_its_answer_by_text():
    row = {"benchmark": "b", "id": "1", "question": "What is 2 + 2?", "choices": ["5", "4"], "answer": "4", "texts": []}
    unfit = [{**row, "choices": None}, {**row, "answer": None}, {**row, "question": None}]
    assert evaluate(Oracle(knows), askable([row, *unfit]), MultipleChoiceConfig()).n == 1
    assert evaluate(Oracle(knows), askable([row]), MultipleChoiceConfig()).accuracy == 1.0


def test_wilson_against_published_values():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0) and math.isclose(sum(wilson(5, 10)), 1.0)


def test_items_without_one_right_choice_are_not_asked() -> None:
    item = {"id": "a", "question": "Which?", "choices": ["one", "two"], "answer": "two"}
    twice = {**item, "choices": ["two", "one", "two"]}
    assert askable([item, twice, {**item, "answer": None}, {**item, "choices": []}, {**item, "question": ""}]) == [item]
