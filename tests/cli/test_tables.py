"""Tables where there is little room: words stay whole, headings too, and nothing is cut."""

from __future__ import annotations

import pytest

from cs336.accounting.table import Column, Table
from cs336.cli.tables import print_tables

ENCODING = Table(
    "throughput",
    "Encoding",
    (
        Column("tokenizer of"),
        Column("on"),
        Column("text", "bytes"),
        Column("speed", "bytes per second"),
        Column("type"),
    ),
    [("books and more", "many languages", 64_036_231, 307_044_000.0, "uint16")],
    notes=["From file to file."],
)


@pytest.fixture
def printed(capsys, terminal):
    """What tables are in a terminal of a width."""

    def show(width, *tables):
        with terminal(width):
            print_tables(tables, "table", heading="Heading", about={})
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize("width", [20, 40, 60, 66, 70, 80])
def test_no_word_and_no_number_breaks(printed, width):
    shown = printed(width, ENCODING)
    words = shown.split()
    for word in ("tokenizer", "of", "on", "text", "speed", "type", "many", "languages", "uint16"):
        assert word in words
    for whole in ("books and more", "64.036 MB", "307.044 MB/s"):
        assert whole in shown


def test_a_table_takes_no_more_than_there_is_where_words_may_go_to_the_next_line(printed):
    # 14 for the name, 9 for "languages", and the numbers whole, with two between one column and the next.
    least = 14 + 9 + 9 + 12 + 6 + 2 * 4
    for width in (least, least + 3):
        lines = printed(width, ENCODING).splitlines()
        assert max(map(len, lines)) == width
    wide = printed(200, ENCODING)
    assert "books and more  many languages  64.036 MB  307.044 MB/s  uint16" in wide


def test_a_table_that_has_no_room_is_wider_than_the_terminal_and_whole(printed):
    row = tuple(10**23 + place for place in range(5))
    table = Table("huge", "Huge", tuple(Column(f"column {place}", "count") for place in range(5)), [row])
    shown = printed(60, table)
    for number in row:
        assert f"{number:,}" in shown


def test_only_what_is_longer_than_any_word_breaks(printed):
    table = Table("long", "Long", (Column("name"), Column("what")), [("n" * 100, "w" * 100)])
    lines = printed(80, table).splitlines()
    assert max(map(len, lines)) <= 80
    text = "".join(lines)
    assert text.count("n") == 100 + "HeadingLongname".count("n")
    assert text.count("w") == 100 + "what".count("w")


def test_wide_characters_take_two_cells(printed):
    table = Table("wide", "Wide", (Column("token"), Column("kind")), [("日本語" * 4, "readable"), ("a", "b")])
    rows = printed(80, table).splitlines()
    assert f"{'日本語' * 4}  readable" in [row.rstrip() for row in rows]
    assert f"a{' ' * 23}  b" in [row.rstrip() for row in rows]


def test_a_table_without_rows_is_its_title_and_what_is_said_of_it(printed):
    table = Table("shared", "Shared tokens", (Column("corpus"), Column("and")), [], notes=["Nothing to share."])
    assert [line.rstrip() for line in printed(80, table).splitlines()] == [
        "Heading",
        "",
        "Shared tokens",
        "",
        "  Nothing to share.",
        "",
    ]
