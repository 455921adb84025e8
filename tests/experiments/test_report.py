"""The report: what is run and what is kept, what the sentences say, what the page holds."""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from html.parser import HTMLParser

import pytest

from cs336.accounting.table import Column, Table
from cs336.errors import ConfigError, CorpusError, DataError
from cs336.experiments.ablation import Ablation
from cs336.experiments.arms import Outcome
from cs336.experiments.lr_sweep import Sweep
from cs336.experiments.report.engine import make_report
from cs336.experiments.report.part import Found, Part, Picture
from cs336.experiments.report.parts import PARTS
from cs336.experiments.report.plan import Plan
from cs336.experiments.report.record import path_of
from cs336.training import make_config

END = "<|endoftext|>"
BY_NAME = {part.name: part for part in PARTS}
LIGHT = ("unicode", "encodings", "vocabularies", "tokenizers", "accounting", "learning-rates", "adamw")
"""Parts that train no model; bpe comes with them."""


def write_corpora(folder):
    cats = "".join(f"the cat sat on mat {number} and saw the hat\n{END}\n" for number in range(40))
    dogs = "".join(f"der Hund sa\u00df {number} Mal vor dem Tor und a\u00df\n{END}\n" for number in range(40))
    paths = (folder / "cats <b>&.txt", folder / "dogs.txt")
    for path, text in zip(paths, (cats, dogs), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


@pytest.fixture
def corpora(tmp_path):
    return write_corpora(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def silent(what):
    pass


class Counting:
    """Parts that count how often they are measured; `stop` is raised by the next that is."""

    def __init__(self):
        self.measured = []
        self.stop = None
        self.parts = (
            self.part("plain"),
            self.part("reading", reads_corpora=True),
            self.part("needing", needs=("reading",)),
        )

    def part(self, name, **settings):
        def measure(bench):
            if self.stop and self.stop[0] == name:
                time.sleep(0.2)
                raise self.stop[1]
            self.measured.append(name)
            (bench.pictures / f"{name}.png").write_bytes(b"\x89PNG " + name.encode())
            table = Table("numbers", "Numbers", (Column("number", "count"),), [(len(self.measured),)])
            return Found([table], [Picture(f"{name}.png", f"The picture of {name}")])

        def answer(rows):
            return [f"The number of {name} is {rows['numbers'][0]['number']}."]

        return Part(name, name.title(), measure, answer, lambda plan, folder: [f"echo {name}"], **settings)

    def make(self, corpora, folder, **options):
        settings = {name: options.pop(name) for name in ("vocab_sizes", "seed") if name in options}
        plan = Plan(paths=corpora, **({"vocab_sizes": (300,)} | settings))
        before = len(self.measured)
        report = make_report(plan, folder, parts=self.parts, told=silent, **options)
        return report, self.measured[before:]


def test_what_is_done_is_not_run_again(corpora, folder):
    counting = Counting()
    counting.stop = ("reading", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        counting.make(corpora, folder)
    assert counting.measured == ["plain"]
    counting.stop = None
    report, measured = counting.make(corpora, folder)
    assert measured == ["reading", "needing"]
    assert [one.status for one in report.done] == ["kept", "measured", "measured"]
    assert [one.record.seconds > 0.2 for one in report.done] == [False, True, False]  # the time of both calls
    page = report.html.read_text("utf-8")
    assert counting.make(corpora, folder)[1] == []
    assert report.html.read_text("utf-8") == page


def test_a_part_is_run_again_when_what_it_reads_has_changed(corpora, folder):
    counting = Counting()
    counting.make(corpora, folder)
    corpora[1].touch()
    assert counting.make(corpora, folder)[1] == []
    corpora[1].write_text(f"another\n{END}\nand one more\n", encoding="utf-8")
    assert counting.make(corpora, folder)[1] == ["reading", "needing"]
    assert counting.make(corpora, folder, vocab_sizes=(301,))[1] == ["reading", "needing"]
    assert counting.make(corpora, folder, vocab_sizes=(301,), seed=1)[1] == ["plain", "reading", "needing"]


def test_damaged_and_missing_files_are_made_again(corpora, folder):
    counting = Counting()
    counting.make(corpora, folder)
    (folder / "parts" / "plain.json").write_text("{", encoding="utf-8")
    (folder / "pictures" / "needing.png").write_bytes(b"other")
    path = path_of(folder, counting.parts[1])
    path.write_text(path.read_text("utf-8").replace('"heading": "number"', '"heading": "figure"'), encoding="utf-8")
    assert counting.make(corpora, folder)[1] == ["plain", "reading", "needing"]


def test_only_what_is_asked_for(corpora, folder):
    counting = Counting()
    report, measured = counting.make(corpora, folder, only=["needing"])
    assert measured == ["reading", "needing"]
    assert report.done[0].status == "not asked for"
    assert "Not measured yet." in report.markdown.read_text("utf-8")
    assert counting.make(corpora, folder, only=["needing"], restart=True)[1] == ["needing"]
    assert counting.make(corpora, folder)[1] == ["plain"]
    assert counting.make(corpora, folder, restart=True)[1] == ["plain", "reading", "needing"]
    with pytest.raises(ConfigError, match="there is no part 'none'; the parts are plain, reading, needing"):
        counting.make(corpora, folder, only=["none"])


def test_what_is_not_asked_for_is_left_alone(corpora, folder):
    counting = Counting()
    counting.make(corpora, folder)
    report, measured = counting.make(corpora, folder, seed=1, only=["plain"])
    assert measured == ["plain"]
    assert [one.status for one in report.done] == ["measured", "not asked for", "not asked for"]
    assert counting.make(corpora, folder)[1] == ["plain"]


def test_a_part_that_fails_loses_no_other(corpora, folder):
    counting = Counting()
    counting.make(corpora, folder)
    counting.stop = ("reading", DataError("the <disk> is wet; dry it"))
    report, measured = counting.make(corpora, folder, seed=1)
    assert measured == ["plain"]
    assert [one.status for one in report.done] == ["measured", "failed", "failed"]
    page = report.html.read_text("utf-8")
    assert "the &lt;disk&gt; is wet; dry it" in page
    assert "It needs &#39;Reading&#39;, which is missing." in page
    assert "The number of plain is 4." in page
    assert "The number of reading" not in page
    assert not path_of(folder, counting.parts[1]).exists()  # that of seed 0
    assert "DataError" in (folder / "parts" / "reading.error.txt").read_text("utf-8")
    counting.stop = None
    report, measured = counting.make(corpora, folder, seed=1)
    assert measured == ["reading", "needing"]
    assert not report.failed
    assert not list(folder.glob("parts/*.txt"))


def test_the_sentence_follows_the_number(corpora, folder):
    counting = Counting()
    report, _ = counting.make(corpora, folder)
    path = path_of(folder, counting.parts[0])
    told = json.loads(path.read_text("utf-8"))
    told["tables"][0]["rows"] = [[77]]
    path.write_text(json.dumps(told), encoding="utf-8")
    counting.make(corpora, folder)
    for page in (report.html, report.markdown):
        assert "The number of plain is 77." in page.read_text("utf-8")
    assert (folder / "tables" / "plain-numbers.csv").read_text("utf-8") == "number\n77\n"


def test_nonsense(corpora, folder, tmp_path):
    def make(*paths, sizes=(300,)):
        make_report(Plan(paths=paths, vocab_sizes=sizes), folder, parts=(), told=silent)

    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "copy.txt").write_bytes(corpora[1].read_bytes())
    with pytest.raises(CorpusError, match="give --corpus FILE"):
        make()
    with pytest.raises(FileNotFoundError, match="check the path"):
        make(corpora[0], tmp_path / "none.txt")
    with pytest.raises(CorpusError, match=r"empty\.txt holds no document"):
        make(corpora[0], tmp_path / "empty.txt")
    with pytest.raises(CorpusError, match="hold the same text"):
        make(corpora[1], corpora[1])
    with pytest.raises(CorpusError, match=r"dogs\.txt and .*copy\.txt hold the same text"):
        make(corpora[1], tmp_path / "copy.txt")
    with pytest.raises(ConfigError, match="one for each of 2 corpora, not 3"):
        make(*corpora, sizes=(300, 300, 300))
    assert not folder.exists()


def test_folders_that_can_not_be_written_to(corpora, tmp_path, without_rights, public_path):
    plan = Plan(paths=corpora, vocab_sizes=(300,))
    with pytest.raises(ConfigError, match="is not empty, and holds no report; name another folder"):
        make_report(plan, tmp_path, parts=(), told=silent)
    with pytest.raises(OSError, match="a part of the path is a file; check the path"):
        make_report(plan, corpora[1] / "out", parts=(), told=silent)
    locked = public_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    public = write_corpora(public_path)
    with pytest.raises(PermissionError, match="change its permissions, or choose another place"):
        without_rights(
            lambda: make_report(Plan(paths=public, vocab_sizes=(300,)), locked / "out", parts=(), told=silent)
        )


def test_one_process_at_a_time(corpora, folder):
    def again(bench):
        make_report(bench.plan, folder, parts=(), told=silent)

    part = Part("again", "Again", again, lambda rows: [], lambda plan, folder: [])
    report = make_report(Plan(paths=corpora, vocab_sizes=(300,)), folder, parts=(part,), told=silent)
    assert "another process makes the report" in report.done[0].error


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """A report of the parts that train no model."""
    folder = tmp_path_factory.mktemp("light")
    plan = Plan(paths=write_corpora(folder), vocab_sizes=(300, 320), quick=True, threads=1)
    return make_report(plan, folder / "out", only=LIGHT, told=silent)


@pytest.fixture
def rows(light):
    """The tables of each part, to alter."""
    return {one.part.name: copy.deepcopy(one.record.found.rows()) for one in light.done if one.record is not None}


def told(name, rows):
    return " ".join(BY_NAME[name].answer(rows[name]))


def test_the_light_parts_are_measured(light):
    assert not light.failed, light.failed
    assert {one.part.name for one in light.done if one.status == "measured"} == {*LIGHT, "bpe"}


def test_unicode(rows):
    assert "prints nothing; the write-up calls that white space, which it is not" in told("unicode", rows)
    rows["unicode"]["zero"][2]["is,_escaped"] = "True"
    assert "is white space, as the write-up says" in told("unicode", rows)


def test_encodings(rows):
    assert "UTF-8 is not the shortest for every text" in told("encodings", rows)
    assert "UTF-8 takes the fewest bytes for English, German, Greek, cats <b>& and dogs." in told("encodings", rows)
    for row in rows["encodings"]["sizes"]:
        row["UTF-8"] = 1
    assert "So UTF-8 is never longer than the others here." in told("encodings", rows)


def test_bpe(rows):
    stages = [row for row in rows["bpe"]["stages"] if row["corpus"] == "dogs"]
    for stage in stages:
        rows["bpe"]["training"][1]["seconds"], stage["seconds"] = 10.0, 6.0 if stage["stage"] == "counting" else 1.0
    assert "the largest part of the time goes into counting (60.0%)" in told("bpe", rows)
    stages[1]["seconds"] = 7.0
    assert f"the largest part of the time goes into {stages[1]['stage']} (70.0%)" in told("bpe", rows)


def test_vocabularies(rows):
    first, second = rows["vocabularies"]["vocabularies"]
    first["mean_bytes"], second["mean_bytes"] = 3.0, 4.0
    assert "On average, the tokens of dogs are the longest, with 4 bytes." in told("vocabularies", rows)
    first["mean_bytes"] = 5.0
    assert "On average, the tokens of cats <b>& are the longest, with 5 bytes." in told("vocabularies", rows)
    second["mean_bytes"] = 5.0
    assert "On average, the tokens of cats <b>& and dogs are the longest, with 5 bytes." in told("vocabularies", rows)
    assert "double-encoded" not in told("vocabularies", rows)
    longest = rows["vocabularies"]["longest"][0]
    longest.update(bytes=999, token="'x'", kind="double-encoded, controls lost", repaired=None)
    assert "is 'x': 999 bytes, double-encoded, controls lost." in told("vocabularies", rows)
    assert "1 is double-encoded; 0 can be repaired" in told("vocabularies", rows)


def test_tokenizers(rows):
    compression = rows["tokenizers"]["compression"]
    compression[0]["on_dogs"], compression[1]["on_dogs"] = 2.0, 4.0
    assert "That of cats <b>& has 2.00 on dogs, 50.0% fewer." in told("tokenizers", rows)
    compression[0]["on_dogs"] = 6.0
    assert "That of cats <b>& has 6.00 on dogs, 50.0% more." in told("tokenizers", rows)
    compression[0]["on_dogs"] = 4.0
    assert "That of cats <b>& has 4.00 on dogs, as many." in told("tokenizers", rows)
    throughput = rows["tokenizers"]["throughput"]
    throughput[2].update(bytes_per_second=1000.0, seconds_for_the_Pile=8.25e8)
    slow = "the slowest is the tokenizer of dogs on cats <b>&, with 1.000 kB/s: 9,549 days for the Pile."
    assert slow in told("tokenizers", rows)
    assert "uint16 holds all ids" in told("tokenizers", rows)
    rows["tokenizers"]["files"][3]["dtype"] = "uint32"
    assert "the ids take uint16 or uint32" in told("tokenizers", rows)


def test_accounting(rows):
    text = told("accounting", rows)
    assert "1,637,176,000 parameters, 6.549 GB in float32 (1,556,764,800 with a tied head)" in text
    assert "takes 3.507 TFLOP. The write-up says 229.065 GFLOP; the right number is 15.3 times that." in text
    assert "At 1,024 tokens, the feed-forward takes the most in all sizes: 39.8%, 49.9%, 54.5% and 57.4%." in text
    assert "At 16,384 tokens, the scores take the most in all sizes" in text
    assert "grows for the feed-forward (39.8% to 57.4%)" in text
    rows["accounting"]["sizes"][0]["output_head"] = 0.9
    rows["accounting"]["writeup-flops"][3]["ratio"] = 1.0
    text = told("accounting", rows)
    assert "The write-up says the same." in text
    assert "what takes the most is in gpt2-small the output head, gpt2-medium the feed-forward" in text


def test_learning_rates(rows):
    text = told("learning-rates", rows)
    assert "In 10 steps the loss decays at 1, 10 and 100. In 10 steps the loss diverges at 1000." in text
    assert "The fastest is 100" in text
    assert "after 230 steps" in text
    rows["learning-rates"]["rates"][1]["after_step_10"] = 1e-30
    rows["learning-rates"]["rates"][3]["verdict"] = "decays"
    rows["learning-rates"]["later"] = []
    text = told("learning-rates", rows)
    assert "The fastest is 10" in text
    assert "None of these rates diverges" in text


def test_adamw(rows):
    text = told("adamw", rows)
    assert "15.312 GB * batch + 26.195 GB" in text
    assert "in 80 GB the largest batch is 3." in text
    assert "The write-up's code says 0.823 GB * batch + 23.898 GB, and 68;" in text
    assert "5,115.2 days in float32" in text
    rows["adamw"]["writeup-memory"][0]["batch"] = 3
    assert "and 3, too;" in told("adamw", rows)


RUN = {
    "parameters": 1000,
    "steps": 40,
    "tokens trained on": 5120,
    "time of the steps": 2.0,
    "tokens a second": 2560.0,
    "validation loss, nats a token": 5.0,
    "perplexity": 148.4,
    "bits per byte": 2.5,
    "loss of guessing among all entries": 6.9,
}


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([7.0, 6.0, 5.0], "falls from 7.000 to 5.000 nats a token, at every evaluation."),
        ([7.0, 4.0, 5.0], "falls from 7.000 to 5.000 nats a token."),
        ([5.0, 6.0, 7.0], "rises from 5.000 to 7.000 nats a token."),
        ([5.0, 5.0], "stays from 5.000 to 5.000 nats a token."),
    ],
)
def test_a_training_run(losses, words):
    about = RUN | {"validation loss, nats a token": losses[-1]}
    rows = {
        "run": [{"what": what, "value": value} for what, value in about.items()],
        "evaluations": [{"validation_loss": loss} for loss in losses],
    }
    text = " ".join(BY_NAME["training"].answer(rows))
    assert words in text
    assert (", below the 6.900 nats" in text) == (losses[-1] < 6.9)


def arm(rate, loss, status="trained", warmup=0):
    return {
        "rate": rate,
        "warm-up": warmup,
        "validation_loss": loss,
        "last_training_loss": loss,
        "status": status,
    }


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ([arm(0.1, 3.0), arm(0.2, 2.0), arm(0.4, None, "diverged")], "0.2 with 0 steps of warm-up ends lowest"),
        ([arm(0.1, 3.0), arm(0.2, 2.0), arm(0.4, None, "diverged")], "the edge of stability is between 0.2 and 0.4"),
        ([arm(0.1, 1.0), arm(0.2, 2.0)], "the smallest tried, so that one beyond may be better"),
        ([arm(0.1, 1.0), arm(0.2, 2.0)], "no rate diverges"),
        ([arm(0.1, None, "diverged"), arm(0.2, 2.0)], "0.1 is the smallest rate that diverges, and 0.2 the largest"),
        ([arm(0.1, None, "diverged")], "No run has trained. With 0 steps of warm-up, no rate trains; 0.1 diverged."),
    ],
)
def test_a_sweep(arms, words):
    assert words in " ".join(BY_NAME["lr-sweep"].answer({"arms": arms}))


def variant(name, verdict, change=None, mean=2.0):
    return {
        "variant": name,
        "verdict": verdict,
        "against_the_baseline": change,
        "mean_loss": mean,
        "lowest_loss": mean,
        "highest_loss": mean,
        "best_rate": 0.01,
    }


def test_an_ablation():
    arms = [variant("baseline", "-"), variant("relu2", "worse", 0.1), variant("gelu", "worse", 0.5)]
    arms += [variant("no-norm", "diverges", None, None), variant("swiglu", "better", -0.2)]
    text = " ".join(BY_NAME["ablation"].answer({"verdicts": arms}))
    assert "Better in every seed: swiglu (-0.200)." in text
    assert "Worse in every seed: gelu (+0.500) and relu2 (+0.100)." in text
    assert "At every rate a seed diverges of no-norm." in text
    arms[2]["verdict"] = "no verdict"
    arms[0]["mean_loss"] = None
    text = " ".join(BY_NAME["ablation"].answer({"verdicts": arms}))
    assert "Without a verdict: gelu (+0.500)." in text
    assert text.startswith("The baseline diverges at every rate.")


def test_sweeps_and_ablations_have_the_tables_that_their_answers_are_made_of():
    def outcome(loss, **about):
        return Outcome(repr(about), about, "trained", 10, 10, None, 6.0, loss, loss)

    sweep = Sweep((outcome(3.0, rate=0.1, warmup=0), outcome(2.0, rate=0.2, warmup=0)), {})
    text = " ".join(BY_NAME["lr-sweep"].answer(Found(sweep.tables()).rows()))
    assert text.startswith("Of 2 learning rates, 0.2 with 0 steps of warm-up ends lowest, at a loss of 2.000")
    config = make_config({"model": {"preset": "tinystories-2025"}, "data": {"train": "t"}, "training": {"steps": 10}})
    runs = [outcome(2.0 + seed / 10, variant="baseline", rate=0.1, seed=seed) for seed in (0, 1)]
    runs += [outcome(4.0, variant="no-norm", rate=0.1, seed=seed) for seed in (0, 1)]
    found = Ablation(tuple(runs), {"config": dataclasses.asdict(config)})
    text = " ".join(BY_NAME["ablation"].answer(Found(found.tables()).rows()))
    assert text.startswith("The baseline ends at a loss of 2.050 (2.000 to 2.100 by seed), at its best rate, 0.1.")
    assert "Worse in every seed: no-norm (+1.950)." in text


class Checked(HTMLParser):
    """Notes what a page refers to, and whether its tags match."""

    VOID = frozenset({"meta", "img", "link", "br", "hr"})

    def __init__(self):
        super().__init__()
        self.open, self.references, self.images, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        self.tags.add(tag)
        self.references += [about[name] for name in ("src", "href", "srcset", "data", "action") if name in about]
        if tag == "img":
            self.images.append(about)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_beside_it(light):
    page = light.html.read_text("utf-8")
    checked = Checked()
    checked.feed(page)
    assert checked.open == []
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in checked.references)
    assert not {"script", "link", "iframe", "object"} & checked.tags
    assert "url(" not in page
    assert "@import" not in page
    assert len(checked.images) == 4
    assert all(len(image["alt"]) > 20 for image in checked.images)
    assert "<b>&" not in page
    assert "cats &lt;b&gt;&amp;.txt" in page


def test_the_markdown_has_all_answers_tables_and_pictures(light):
    page = light.markdown.read_text("utf-8")
    for one in light.done:
        assert f". {one.part.title}\n" in page
    for name in ("stages", "vocabularies", "shares", "sgd"):
        assert f"](pictures/{name}.png)" in page
        assert (light.folder / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert page.count("Not measured yet.") == 3
    assert (light.folder / "tables" / "tokenizers-throughput.csv").read_text("utf-8").count("\n") == 5


def test_raw_numbers_tell_what_they_were_measured_on(light):
    raw = json.loads((light.folder / "parts" / "adamw.json").read_text("utf-8"))
    assert {"cpu", "cores"} <= set(raw["machine"])
    assert {"python", "cs336"} <= set(raw["versions"])
    assert raw["seconds"] > 0
