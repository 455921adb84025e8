"""What follows from outcomes: the best rate, the edge of stability, verdicts. The outcomes are made by hand."""

from __future__ import annotations

import dataclasses
import json

import pytest
from small_runs import small_config

from cs336.errors import CheckpointError, ConfigError
from cs336.experiments.ablation import Ablation
from cs336.experiments.arms import Outcome
from cs336.experiments.lr_sweep import Edge, Sweep, geometric


def outcome(loss: float | str, **about) -> Outcome:
    status = loss if isinstance(loss, str) else "trained"
    found = None if isinstance(loss, str) else loss
    name = "-".join(map(str, about.values()))
    return Outcome(name, about, status, 10, 10, None, 5.0, found, found, 7, 70, ((1, 5.0), (10, found or 9.0)), 1.5)


def sweep(losses: dict[float, float | str], warmup: int = 0) -> Sweep:
    return Sweep(tuple(outcome(loss, rate=rate, warmup=warmup) for rate, loss in losses.items()), {"jobs": 1})


def ablation(tmp_path, losses: dict[str, dict[float, list[float | str]]]) -> Ablation:
    outcomes = [
        outcome(loss, variant=variant, rate=rate, seed=seed)
        for variant, rates in losses.items()
        for rate, seeds in rates.items()
        for seed, loss in enumerate(seeds)
    ]
    return Ablation(tuple(outcomes), {"config": dataclasses.asdict(small_config(tmp_path))})


def test_the_best_and_the_edge():
    found = sweep({0.001: 4.0, 0.01: 2.0, 0.1: 3.0, 1.0: "diverged", 10.0: "diverged"})
    assert found.best.about["rate"] == 0.01
    assert found.edges() == [Edge(0, 0.1, 1.0)]
    assert found.edges()[0].sentence.endswith(
        "the largest rate that trained is 0.1, the smallest that diverged 1: the edge of stability is between them."
    )
    assert "edge of the" not in found.verdict
    assert "smallest rate tried" not in found.verdict


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({0.1: "diverged", 1.0: 3.0}, "between them, some trained and some diverged"),
        ({0.1: 3.0, 1.0: 2.0}, "no rate diverged; the largest that trained is 1"),
        ({0.1: "diverged", 1.0: "diverged"}, "no rate trained; the smallest that diverged is 0.1"),
        ({0.1: "failed", 1.0: "unfinished"}, "no rate trained and none diverged"),
    ],
)
def test_edges_that_are_none(losses, said):
    assert said in sweep(losses).edges()[0].sentence


def test_a_best_rate_at_the_end_of_those_tried_is_said_to_be():
    assert "It is the largest rate tried" in sweep({0.1: 3.0, 1.0: 2.0}).verdict
    assert "It is the smallest rate tried" in sweep({0.1: 2.0, 1.0: 3.0}).verdict
    assert "No arm has trained." == sweep({0.1: "diverged"}).verdict  # noqa: SIM300
    assert "tried" not in sweep({0.1: 2.0}).verdict


def test_failed_and_unfinished_arms_are_said():
    found = sweep({0.1: 3.0, 1.0: "failed", 2.0: "unfinished"})
    assert "1 of 3 arms have not finished." in found.sentences()
    assert [one.name for one in found.failed] == ["1.0-0"]


def test_what_an_arm_has_not_come_to_is_no_number():
    arms = (Outcome("begun", {"rate": 0.1, "warmup": 0}, "unfinished", 10, 4), outcome(3.0, rate=1.0, warmup=0))
    (table,) = Sweep(arms, {"jobs": 1}).tables()
    assert table.readable_rows() == [
        ["0.1", "0", "unfinished", "–", "–", "–", "4", "–"],
        ["1", "0", "trained", "5", "3", "3", "10", "1.5 s"],
    ]
    assert table.as_dict()["rows"][0]["seconds"] is None


@pytest.mark.parametrize("losses", [{0.001: 300.0, 0.01: 2.0, 1.0: "diverged"}, {0.1: "diverged"}, {0.1: 2.0}])
def test_a_sweep_is_drawn_whatever_came_of_it(tmp_path, losses):
    found = sweep(losses)
    found.draw(tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert found.verdict in found.alt_text


def test_rates_by_equal_factors():
    assert geometric(1e-4, 1, 5) == (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    with pytest.raises(ConfigError):
        geometric(1, 0.1, 3)


def test_verdicts_need_ranges_that_stand_apart(tmp_path):
    found = ablation(
        tmp_path,
        {
            "baseline": {0.1: [3.0, 3.2], 1.0: [2.0, 2.4]},
            "no-norm": {0.1: [2.5, 2.6], 1.0: ["diverged", 2.0]},
            "tied": {0.1: [5.0, 5.0], 1.0: [1.8, 1.9]},
            "gelu": {0.1: [5.0, 5.0], 1.0: [1.8, 2.0]},
            "relu2": {0.1: ["diverged", 3.0], 1.0: [2.0, "diverged"]},
        },
    )
    verdicts = {one.variant: (one.best_rate, one.verdict) for one in found.summaries()}
    assert verdicts == {
        "baseline": (1.0, "-"),
        "no-norm": (0.1, "worse"),
        "tied": (1.0, "better"),
        "gelu": (1.0, "no verdict"),  # 2.0 is not below 2.0
        "relu2": (None, "diverges"),
    }
    sentences = found.sentences()
    assert sentences[:4] == ["Better: tied.", "Worse: no-norm.", "No verdict: gelu.", "Diverges: relu2."]
    assert any("33.3% would get a verdict by chance with 2 seeds" in one for one in sentences)
    assert [one.diverged for one in found.summaries()] == [0, 1, 0, 0, 2]


def test_one_seed_gives_no_verdict(tmp_path):
    found = ablation(tmp_path, {"baseline": {0.1: [3.0]}, "tied": {0.1: [1.0]}})
    assert found.verdict("tied") == "no verdict"


@pytest.mark.parametrize("status", ["failed", "unfinished"])
def test_missing_runs_give_no_verdict(tmp_path, status):
    found = ablation(tmp_path, {"baseline": {0.1: [3.0, 3.0]}, "tied": {0.1: [1.0, 1.0], 0.2: [1.0, status]}})
    assert found.verdict("tied") == status


def test_an_ablation_is_drawn_whatever_came_of_it(tmp_path):
    for number, tied in enumerate(({0.1: [1.0, 2.0]}, {0.1: ["diverged", "failed"]})):
        found = ablation(tmp_path, {"baseline": {0.1: [3.0, 3.0]}, "tied": tied})
        found.draw(tmp_path / f"{number}.svg")
        assert "tied" in found.alt_text
    ablation(tmp_path, {"baseline": {0.1: ["diverged"]}}).draw(tmp_path / "none.svg")
    assert (tmp_path / "none.svg").read_bytes().startswith(b"<?xml")


def test_results_come_back_as_they_were(tmp_path):
    for found in (sweep({0.1: 3.0, 1.0: "diverged"}), ablation(tmp_path, {"baseline": {0.1: [3.0, 3.0]}})):
        found.save(tmp_path)
        back = type(found).load(tmp_path)
        assert back.outcomes == found.outcomes
        assert back.to_json() == found.to_json() == json.loads((tmp_path / "results.json").read_text())
        assert [table.rows for table in back.tables()] == [table.rows for table in found.tables()]
    with pytest.raises(ConfigError, match="results of 'ablation', not of 'lr-sweep'"):
        Sweep.load(tmp_path)
    (tmp_path / "results.json").write_text("[")
    with pytest.raises(CheckpointError, match="is damaged"):
        Sweep.load(tmp_path)
