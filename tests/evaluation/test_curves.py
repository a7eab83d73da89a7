"""Rows of metrics.jsonl as a training loop leaves them, resumed and torn."""

from evaluation.curves import points, read_curve, validation


def test_steps_and_validations_of_one_step_stand_beside_each_other(tmp_path):
    (tmp_path / "m").write_text(
        '{"kind": "step", "step": 2, "loss": 5.0}\n{"kind": "validation", "step": 2, "loss_by_source": {"c4": 5.5}}\n'
        '{"step": 1, "loss": 6}\n{"step": 2, "loss": 4.5}\n{"step": 4, "validation": {"b": 4, "all": 3, "c": null}}\n'
        '{"step": 3, "lo'
    )
    rows = read_curve(tmp_path / "m")
    assert points(rows, "loss") == [(1, 6), (2, 4.5)]
    assert validation(rows) == {"all": [(2, 5.5), (4, 3)], "b": [(4, 4)], "c4": [(2, 5.5)]}
