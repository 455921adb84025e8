"""The study of tokenizers: what it draws, counts and says, against counts by another way."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from cs336 import train_bpe
from cs336.errors import ConfigError, CorpusError
from cs336.experiments.documents import check_corpus, sample_documents
from cs336.experiments.mojibake import encoded_again
from cs336.experiments.tokenizer_tables import PILE_BYTES, TABLES
from cs336.experiments.tokenizers import Study, short_names, train_each
from cs336.experiments.vocabulary import script_of

END = "<|endoftext|>"


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    cats = [f"the cat sat on mat {number} and saw the hat" for number in range(30)]
    broken = encoded_again("põhi ") * 3  # whose signs are letters again, which the pattern keeps together
    dogs = [f"der Hund saß {number} Mal vor dem Tor; {broken}" for number in range(30)]
    paths = []
    for name, documents in (("cats", cats), ("dogs", dogs)):
        paths.append(folder / f"{name}.txt")
        paths[-1].write_text("".join(f"{document}\n{END}\n" for document in documents), encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def study(corpora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return Study(train_each(corpora, [300, 320], folder, threads=1), folder, seed=1, repeats=1, threads=1)


def table(study, name):
    return TABLES[name](study)


def test_documents_are_drawn_by_seed(corpora, tmp_path):
    text = corpora[0].read_text("utf-8")
    whole = [document.strip("\n").encode() for document in text.split(END) if document.strip("\n")]
    assert sample_documents(corpora[0], 99, seed=0) == whole
    drawn = [sample_documents(corpora[0], 10, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    for documents in drawn:
        assert documents == sorted(set(documents), key=whole.index)
        assert len(documents) == 10
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "blank.txt").write_bytes(f"\n{END}\n{END}".encode())
    for name in ("empty.txt", "blank.txt"):
        with pytest.raises(CorpusError, match=f"{name} holds no document"):
            sample_documents(tmp_path / name, 1, seed=0)


def test_every_document_is_as_likely_as_any_other(tmp_path):
    path = tmp_path / "five.txt"
    path.write_text(END.join("abcde"), encoding="utf-8")
    counts = Counter(document for seed in range(2_000) for document in sample_documents(path, 2, seed=seed))
    assert set(counts) == {b"a", b"b", b"c", b"d", b"e"}
    assert all(700 < count < 900 for count in counts.values())


def test_tokenizers_are_those_of_train_bpe(study, corpora):
    for one, path, size in zip(study.trained, corpora, (300, 320), strict=True):
        assert one.tokenizer == train_bpe(path, size, [END], progress=False)
        assert one.peak_memory == max(stage["peak_memory"] for stage in one.report["stages"])
    assert [row[0] for row in table(study, "training").rows] == ["cats", "dogs"]
    assert {row[1] for row in table(study, "stages").rows} >= {"counting", "merging"}


def test_the_slowest_stage_is_told_from_the_times(study):
    training = table(study, "training")
    for row in training.rows:
        times = {stage[1]: stage[2] for stage in table(study, "stages").rows if stage[0] == row[0]}
        slowest = max(times, key=times.get)
        assert row[-1] == slowest
        assert f"{row[0]}: {slowest} takes the most time, {times[slowest] / row[3]:.0%} of it." in training.notes


def test_double_encoded_tokens_are_found_and_told(study):
    rows = {row[1]: row for row in table(study, "longest").rows if row[0] == "dogs"}
    damaged = repr(" " + encoded_again("põhi"))
    assert rows[damaged][3:] == ("double-encoded", "' põhi'")
    notes = table(study, "longest").notes
    assert "double-encoded" not in notes[0]
    assert "Each of the double-encoded is itself again" in notes[1]
    assert any(note.startswith("The write-up's longest token, 128 bytes") for note in notes)


def test_vocabularies_are_counted(study):
    learned = [{pair[0] + pair[1] for pair in one.tokenizer.merges} for one in study.trained]
    (shared,) = table(study, "shared").rows
    common = len(learned[0] & learned[1])
    assert shared == ("cats", "dogs", common, common / len(learned[0]), common / len(learned[1]))
    for row, tokens, others in zip(table(study, "vocabularies").rows, learned, learned[::-1], strict=True):
        assert row[1] == len(tokens)
        assert row[4] == sum(token[:1] == b" " for token in tokens)
        assert row[6] == len(tokens - others)
    for name in ("scripts", "lengths"):
        sums = [sum(column) for column in list(zip(*table(study, name).rows, strict=True))[1:]]
        assert sums == [len(tokens) for tokens in learned]
    assert dict(table(study, "lengths").as_dict()["rows"][0]) == {
        "length_in_bytes": 2,
        "tokens_of_cats": sum(len(token) == 2 for token in learned[0]),
        "tokens_of_dogs": sum(len(token) == 2 for token in learned[1]),
    }


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["cats.txt", "more/dogs.jsonl.gz"], ["cats", "dogs"]),
        (["a/text.txt", "b/text.txt", "text-1.txt"], ["text-1", "text-2", "text-1-3"]),
        (["my cats.txt", "texts/*.txt", " .txt"], ["my cats", "texts", "corpus"]),
    ],
)
def test_every_corpus_has_a_short_name_of_its_own(paths, names):
    assert short_names([Path(path) for path in paths]) == names


@pytest.mark.parametrize(
    ("token", "script"),
    [
        (" the", "Latin"),
        ("漢字", "Han"),
        ("ความ", "Thai"),
        (" проект", "Cyrillic"),
        ("한국", "Hangul"),
        ("aя", "several scripts"),
        (" 12", "digits"),
        ("\n\n", "white space"),
        (" --", "punctuation and symbols"),
        ("µ", "other letters"),
        (b"\xe2\x80", "part of a character"),
    ],
)
def test_scripts(token, script):
    assert script_of(token.encode() if isinstance(token, str) else token) == script


def test_compression_is_a_matrix(study, corpora):
    rows = table(study, "compression").rows
    for row, one in zip(rows, study.trained, strict=True):
        for ratio, path in zip(row[1:], corpora, strict=True):
            texts = sample_documents(path, 10, seed=1)
            assert ratio == pytest.approx(sum(map(len, texts)) / sum(len(one.tokenizer.encode(text)) for text in texts))
    assert rows[0][1] > rows[1][1]
    notes = table(study, "compression").notes
    change = 1 - rows[1][1] / rows[0][1]
    assert f"cats under the tokenizer of dogs: {change:.1%} fewer than under its own." in notes


def test_throughput(study, corpora):
    found = table(study, "throughput")
    pairs = [(one, name, path) for one in study.trained for name, path in zip(("cats", "dogs"), corpora, strict=True)]
    assert len(found.rows) == 4
    for row, (one, name, path) in zip(found.rows, pairs, strict=True):
        whose, corpus, size, seconds, speed, pile = row
        assert (whose, corpus) == (one.name, name)
        assert size == path.stat().st_size
        assert speed == pytest.approx(size / seconds)
        assert pile == pytest.approx(PILE_BYTES / speed)
    assert found.notes[-1] == (
        "The write-up divides by 741,778 bytes a second, 10 times what it measured."
        " 74,178 bytes a second are 3,089 hours (128.7 days), not 308."
    )


def test_token_files(study, corpora):
    found = table(study, "files")
    pairs = [(one, name, path) for one in study.trained for name, path in zip(("cats", "dogs"), corpora, strict=True)]
    assert len(found.rows) == 4
    for row, (one, name, path) in zip(found.rows, pairs, strict=True):
        whose, corpus, size, tokens, dtype, file_bytes = row
        assert (whose, corpus, size) == (one.name, name, path.stat().st_size)
        assert tokens == len(one.tokenizer.encode(path.read_bytes()))
        assert dtype == "uint16"
        assert 2 * tokens < file_bytes < 2 * tokens + 200
    assert {path.suffix for path in study.folder.iterdir()} == {".json"}  # no token file is left


@pytest.mark.parametrize("kind", ["gzip", "jsonl.gz", "parquet", "pattern"])
def test_corpora_come_in_all_formats(kind, corpora, tmp_path):
    text = corpora[0].read_text("utf-8")
    documents = [document.strip("\n") for document in text.split(END) if document.strip("\n")]
    rows = "".join(json.dumps({"story": document}) + "\n" for document in documents).encode()
    path = tmp_path / {"gzip": "cats.txt.gz", "pattern": "*.txt"}.get(kind, f"cats.{kind}")
    if kind == "pattern":
        half = len(documents) // 2
        (tmp_path / "a.txt").write_text(END.join(documents[:half]), encoding="utf-8")
        (tmp_path / "b.txt").write_text(END.join(documents[half:]), encoding="utf-8")
    elif kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow.parquet")
        pyarrow.write_table(pytest.importorskip("pyarrow").table({"story": documents}), path)
    else:
        plain = text.encode() if kind == "gzip" else rows
        path.write_bytes(gzip.compress(plain))
    how = {"text_column": "story"}
    check_corpus(path)
    study = Study(train_each([path], [300], tmp_path, threads=1, **how), tmp_path, repeats=1, documents=99, **how)
    (name,) = study.samples
    assert name == (tmp_path.name if kind == "pattern" else "cats")
    assert study.samples[name] == [document.encode() for document in documents]
    assert study.encodings[name, name].stats.documents == len(documents)
    assert not list(tmp_path.glob("tmp*"))  # what was unpacked is gone


def test_what_is_no_corpus(tmp_path):
    (tmp_path / "blank.txt").write_bytes(f"\n{END}\n{END}".encode())
    with pytest.raises(CorpusError, match=r"blank\.txt holds no document"):
        check_corpus(tmp_path / "blank.txt")
    with pytest.raises(CorpusError, match="standard input only once; give a file"):
        check_corpus(Path("-"))
    with pytest.raises(FileNotFoundError, match="no file matches this pattern"):
        check_corpus(tmp_path / "*.gz")


def test_nonsense(corpora, tmp_path):
    with pytest.raises(ConfigError, match="one for each of 2 corpora, not 3"):
        train_each(corpora, [300, 300, 300], tmp_path)
    with pytest.raises(CorpusError, match="vocab_size 3 is too small"):
        train_each(corpora[:1], [3], tmp_path)
