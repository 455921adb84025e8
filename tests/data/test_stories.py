from __future__ import annotations

import re
from pathlib import Path

import pytest

from cs336.data import stories, write_stories
from cs336.data.storyteller.cast import make_scene
from cs336.data.storyteller.plots import PLOTS

MANY = list(stories(4000, seed=1))


def sentences(text: str) -> list[str]:
    return [s for s in re.split(r'(?<=[.!?"])\s+', text) if s]


def test_a_story_depends_on_its_seed_and_number_alone() -> None:
    assert list(stories(3, seed=1)) == MANY[:3]
    assert list(stories(3, seed=2)) != MANY[:3]


def test_stories_differ() -> None:
    assert len(set(MANY)) == len(MANY)
    assert len({s for text in MANY for s in sentences(text)}) > 5000
    assert len(PLOTS) >= 10


def test_every_plot_tells_clean_sentences() -> None:
    for text in MANY:
        assert "  " not in text
        assert " ." not in text
        assert "{" not in text
        assert not re.search(r"\b[Aa] [aeiou]", text), text
        assert not re.search(r"\b[Aa]n [^aeiou]", text), text
        assert not re.search(r"\b(a|the|an) (a|the|an)\b", text), text
        for sentence in sentences(text.replace('"', " ")):
            assert sentence.strip()[0].isupper() or sentence.strip().split()[0] in {
                "asked", "said", "shouted", "called", "answered", "cried", "her", "his", "they",
            }, (sentence, text)  # fmt: skip
        assert 50 <= len(text.split()) <= 190


def test_the_hero_keeps_the_pronouns() -> None:
    from random import Random

    for seed in range(300):
        scene = make_scene(Random(seed))
        other = {"she": "He ", "he": "She "}[scene.hero.they]
        if scene.friend.they != scene.hero.they or scene.helper.they != scene.hero.they:
            continue
        for plot in PLOTS:
            assert other not in " ".join(plot(scene)), plot.__name__


def test_files_by_count_and_by_size(tmp_path: Path) -> None:
    path = tmp_path / "stories.txt"
    stats = write_stories(path, count=3, seed=1)
    assert path.read_text("utf-8") == "".join(f"{text}\n<|endoftext|>\n" for text in MANY[:3])
    assert (stats.stories, stats.bytes) == (3, path.stat().st_size)
    stats = write_stories(path, size=10_000)
    assert 10_000 <= path.stat().st_size == stats.bytes < 11_200
    with pytest.raises(ValueError, match="either count or size"):
        write_stories(path)
    with pytest.raises(FileNotFoundError):
        write_stories(tmp_path / "no" / "folder.txt", count=1)
    assert [p.name for p in tmp_path.iterdir()] == ["stories.txt"]
