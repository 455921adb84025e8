"""Section 3: training tokenizers; time and memory."""

from __future__ import annotations

import json
from pathlib import Path

from cs336.accounting.table import readable
from cs336.experiments.report.part import Bench, Found, Part, Picture, Rows
from cs336.experiments.report.plan import Plan, shell
from cs336.experiments.stages_chart import draw_stages
from cs336.experiments.tokenizer_tables import TABLES
from cs336.experiments.tokenizers import Study, Trained, train_each
from cs336.files import whole_file
from cs336.tokenizer import Tokenizer

NAME = "bpe"


def _measure(bench: Bench) -> Found:
    plan = bench.plan
    trained = train_each(
        [one.path for one in plan.corpora],
        [one.vocab_size for one in plan.corpora],
        bench.work,
        special_tokens=[plan.separator],
        threads=plan.threads,
        told=bench.told,
        **plan.reading,
    )
    reports = bench.work / "reports.json"
    with whole_file(reports) as aside:
        aside.write_text(json.dumps({one.name: one.report for one in trained}), "utf-8")
    study = Study(trained, bench.work)
    tables = [TABLES["training"](study), TABLES["stages"](study)]
    draw_stages(trained, bench.pictures / "stages.png")
    alt = "Bars: seconds of training for each corpus, divided into stages: " + "; ".join(
        f"{row[0]}, {row[1]} {readable(row[2], 'seconds')}" for row in tables[1].rows
    )
    files = [reports, *(bench.work / f"{one.name}.json" for one in trained)]
    return Found(
        tables,
        [Picture("stages.png", f"{alt}.")],
        files=[file.relative_to(bench.folder).as_posix() for file in files],
    )


def trained_in(bench: Bench) -> list[Trained]:
    """The tokenizers that this part has trained, for parts that need it."""
    (reports,) = (bench.folder / "work").glob(f"{NAME}-*/reports.json")
    told = json.loads(reports.read_text("utf-8"))
    return [
        Trained(one.name, one.path, Tokenizer.load(reports.with_name(f"{one.name}.json")), told[one.name])
        for one in bench.plan.corpora
    ]


def study_of(bench: Bench) -> Study:
    """Their comparison."""
    plan = bench.plan
    return Study(
        trained_in(bench),
        bench.work,
        seed=plan.seed,
        repeats=3,
        threads=plan.threads,
        separator=plan.separator,
        told=bench.told,
        **plan.reading,
    )


def _answer(rows: Rows) -> list[str]:
    sentences = []
    for row in rows["training"]:
        memory = row["peak_memory"]
        peak = "" if memory is None else f", and at most {readable(memory, 'bytes')} of memory"
        stages = {stage["stage"]: stage["seconds"] for stage in rows["stages"] if stage["corpus"] == row["corpus"]}
        slowest = max(stages, key=stages.__getitem__)
        sentences.append(
            f"On {row['corpus']} ({readable(row['corpus_bytes'], 'bytes')}), a vocabulary of {row['vocabulary']:,}"
            f" takes {readable(row['seconds'], 'seconds')}{peak};"
            f" the largest part of the time goes into {slowest}"
            f" ({readable(stages[slowest] / row['seconds'], 'share')})."
        )
    sentences.append(
        "The write-up reports 0.23 hours and 8 GB for its corpus, and that asking for the length of the vocabulary and"
        " searching the most frequent pair take the most time."
    )
    return sentences


def _commands(plan: Plan, folder: Path) -> list[str]:
    return [shell(["cs336", "experiment", "tokenizer", *plan.words(), "--table", "training", "--table", "stages"])]


PART = Part(NAME, "BPE training", _measure, _answer, _commands, reads_corpora=True)
