"""The page and the JSON against the manifests of a fabricated run, hostile samples and missing pieces."""

import itertools
import json
import re
from html.parser import HTMLParser

import pytest

from evaluation.carbon import CarbonConfig, energy_mwh, tco2eq
from evaluation.report import report_data, to_html, to_json
from evaluation.report.charts import thinned, ticks
from evaluation.report.lineage_drawing import Node, drawing
from evaluation.report.markup import Markup, escaped, tag
from tests.evaluation.fabricated_run import HOSTILE, Artifact, fabricate

VOID = {"meta", "br", "col", "wbr"}


class Page(HTMLParser):
    """Elements, texts and attributes of a page; every tag must be closed by its own."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts, self.ids = [], set(), [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.tags.add(name)
        self.attributes += attributes
        self.ids += [value for key, value in attributes if key == "id"]
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        self.texts.append(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fabricate(tmp_path_factory.mktemp("run"), steps=200)


@pytest.fixture(scope="module")
def data(run):
    return report_data(*run, CarbonConfig(), "a <run>", {"sft": "out of memory & <more>"})


def test_the_page_is_well_formed_and_reaches_out_to_nothing(data):
    page = Page(to_html(data))
    assert not {"script", "img", "iframe", "link", "object", "base", "form"} & page.tags
    assert not [(key, value) for key, value in page.attributes if key.startswith("on") or key in {"src", "srcset", "xlink:href"}]
    assert all(value.startswith("#") for key, value in page.attributes if key == "href")
    assert "http://" not in to_html(data) and "https://" not in to_html(data) and "url(" not in to_html(data)
    assert page.ids == [value[1:] for key, value in page.attributes if key == "href"]


def test_hostile_text_is_shown_and_never_becomes_markup(data, tmp_path, run):
    text = to_html(data)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt;" in text
    assert "\u202e" not in text and "\x00" not in text and "\x1b" not in text
    everywhere = json.loads(json.dumps(run[0]["c4-read"].manifest))
    everywhere.update(stage=HOSTILE, fingerprint=HOSTILE, config={HOSTILE: {HOSTILE: HOSTILE}}, packages={HOSTILE: HOSTILE})
    everywhere["parents"] = [{"stage": HOSTILE, "fingerprint": HOSTILE, "digest": HOSTILE}]
    everywhere["funnel"]["dropped"] = {HOSTILE: 5}
    everywhere["funnel"]["samples"] = {HOSTILE: [[1, HOSTILE, HOSTILE]]}
    everywhere["metrics"] = {
        "sources": {HOSTILE: {"bytes_per_token": 3.0}},
        "mixture": {HOSTILE: {"planned_share": 0.5, "window_shares": [0.5, 0.4]}},
        "language": HOSTILE,
        "statistics": {
            "documents": {"all": {"all": 2, "in_language": 1}},
            "pronouns": {"all": {HOSTILE: 0.5}, HOSTILE: {"she": 0.5}},
            "identity": {"all": {HOSTILE: {"share": 0.5, "top": [[HOSTILE, 0.5]]}}},
            "languages": {"all": {HOSTILE: 0.5}},
            "toxicity": {HOSTILE: {"documents": 3, "share": 0.5, "bins": [1, 2]}},
        },
    }
    everywhere["metrics"]["checkpoints"] = [{"step": 1, "tasks": {HOSTILE: {"accuracy": 0.5}}}]
    artifacts = {
        name: Artifact(everywhere, tmp_path) for name in ("tokenizer", "mix", "corpus-statistics", "evaluate-" + HOSTILE)
    }
    page = Page(to_html(report_data(artifacts, {HOSTILE: HOSTILE}, CarbonConfig(), HOSTILE, {HOSTILE: HOSTILE})))
    assert not {"script", "img"} & page.tags and page.texts.count("alert(1)") == 0


def test_the_json_holds_the_figures_of_the_manifests(run, data):
    artifacts, states = run
    report = json.loads(to_json(data))
    assert [stage["name"] for stage in report["stages"]] == list(states)
    read = next(stage for stage in report["stages"] if stage["name"] == "c4-read")
    manifest = artifacts["c4-read"].manifest
    assert read == {
        "name": "c4-read",
        "fingerprint": manifest["fingerprint"],
        "state": "done",
        "seconds": manifest["wall_seconds"],
        "cpu_seconds": manifest["cpu_seconds"],
        "peak_rss_mib": manifest["peak_rss_mib"],
        "rows_in": manifest["funnel"]["rows_in"],
        "rows_out": manifest["funnel"]["rows_out"],
    }
    rows = [json.loads(line) for line in (artifacts["pretrain"].directory / "metrics.jsonl").read_text().splitlines()]
    validation = [row["validation"]["all"] for row in rows if "validation" in row]
    head = report["headline"]
    assert (head["validation_loss_first"], head["validation_loss_last"], head["unigram_loss"]) == (
        validation[0],
        validation[-1],
        7.318,
    )
    hours = sum(artifact.manifest["cpu_seconds"] for artifact in artifacts.values()) / 3600
    assert head["tco2eq"] == pytest.approx(tco2eq(energy_mwh(hours, CarbonConfig().cpu_core_watts)))
    newest = artifacts["evaluate-base"].manifest["metrics"]["checkpoints"][-1]["tasks"]
    assert head["benchmark_accuracy"] == pytest.approx(sum(row["accuracy"] for row in newest.values()) / len(newest))
    assert head["benchmarks"]["base"]["piqa"]["chance"] == 0.5


def test_what_has_not_run_is_pending_and_no_figure_is_invented(tmp_path):
    names = ["c4-read", "tokenizer", "mix", "pretrain", "evaluate-base"]
    data = report_data({}, dict.fromkeys(names, "pending"), CarbonConfig(), "nothing yet")
    assert all(value in (None, {}) for value in json.loads(to_json(data))["headline"].values())
    text = " ".join(Page(to_html(data)).texts)
    assert all(re.search(rf"pending\s+{name}\s+has left no figures yet", text) for name in names)
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "loss": NaN}\n{"step": 2, "loss": 5.0}\n{"step": 2, "loss": 4.5}\n["x"]\n{"step": 3, "lo'
    )
    bare = report_data({"pretrain": Artifact({"stage": "pretrain"}, tmp_path)}, {}, CarbonConfig(), "torn")
    assert bare.stages[0].points("loss") == [(2, 4.5)] and json.loads(to_json(bare))["headline"]["tco2eq"] is None
    Page(to_html(bare))
    Page(to_html(report_data({}, {}, CarbonConfig(), "empty")))


def test_markup_escapes_all_but_markup():
    assert tag("p", "<b>", Markup("<i>"), title='"&') == '<p title="&quot;&amp;">&lt;b&gt;<i></p>'
    assert tag("details", open=True, hidden=False, x=1.50, stroke_width=2) == '<details open x="1.5" stroke-width="2"></details>'
    assert escaped("a\u202eb\ud800c") == "a\ufffdb\ufffdc"


def test_thinning_keeps_ends_and_spikes_and_only_measured_points():
    points = [(float(x), 1.0) for x in range(10_000)]
    points[7_777] = (7777.0, 9.0)
    kept = thinned(points, columns=100)
    assert len(kept) <= 202 and kept[0] == points[0] and kept[-1] == points[-1] and points[7_777] in kept
    assert set(kept) <= set(points) and kept == sorted(kept)


def test_ticks_are_round_and_within():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] and ticks(2.87, 10.4, 4) == [4, 6, 8, 10] and ticks(5, 5) == [5]
    for low, high in ((1e-9, 3e-9), (-3, 7), (99, 101), (0, 1.4e12)):
        assert 2 <= len(ticks(low, high)) <= 12 and all(low <= value <= high for value in ticks(low, high))


def test_a_drawn_stage_stands_below_its_inputs_and_boxes_do_not_touch():
    edges = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("e", "d"), ("f", "d"), ("d", "a"), ("d", "d"), ("gone", "d")]
    text = drawing([Node(name, "", "done") for name in "abcdef"], edges)
    boxes = re.findall(r'<title>(\w) · </title><rect x="([\d.-]+)" y="(\d+)" width="(\d+)"', text)
    place = {name: (float(x), int(y)) for name, x, y, _ in boxes}
    assert place["a"][1] < place["b"][1] < place["c"][1] < place["d"][1] and place["e"][1] == place["c"][1]
    rows = [sorted(x for x, y in place.values() if y == height) for height in {y for _, y in place.values()}]
    assert all(right - left >= int(boxes[0][3]) for row in rows for left, right in itertools.pairwise(row))
    assert text.count('class="edge"') == 6  # the circle, the loop and the unknown stage are left out


def test_a_pretraining_that_went_back_says_where_and_why(run, tmp_path):
    def page():
        artifacts = {"pretrain": Artifact(run[0]["pretrain"].manifest, tmp_path)}
        return to_html(report_data(artifacts, {"pretrain": "done"}, CarbonConfig(), "a run"))

    steps = [json.dumps({"kind": "step", "step": step, "loss": 3.0}) for step in range(1, 5)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(steps))
    assert "broke at step" not in page()
    back = [
        {"kind": "rollback", "step": 3, "from": at, "to": 2, "reason": f"a <b>loss</b> of nan at {at}", "skipped": skipped}
        for at, skipped in ((4, 2), (1234, 1234))
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*map(json.dumps, back), *steps]))
    text = " ".join(Page(page()).texts)
    assert "broke at step" in text and "a <b>loss</b> of nan at 4" in text and "1,234" in text
