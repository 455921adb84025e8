"""Tables: exact for machines, short for people."""

from __future__ import annotations

import json

import pytest

from cs336.accounting.table import Column, Table, readable

TABLE = Table(
    "small",
    "A small table",
    (Column("what"), Column("in symbols", "text", "symbols"), Column("value", "measure"), Column("unit", "machine")),
    [("a|b", "N d", 1_234_567, "bytes"), ("time", "", 0.25, "seconds"), ("nothing", "", None, "count")],
    totals=1,
    notes=["A note."],
)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("a\x1b[2J\u202e", "text", r"a\x1b[2J\u202e"),
        (1_637_176_000, "count", "1,637,176,000"),
        (3.14159, "number", "3.142"),
        (0.0948, "share", "9.5%"),
        (1, "share", "100.0%"),
        (15.31, "ratio", "15.3x"),
        (15_311_904_768, "bytes", "15.312 GB"),
        (999_999_999, "bytes", "1.000 GB"),
        (999_999, "bytes", "999.999 kB"),
        (512, "bytes", "512 B"),
        (0, "bytes", "0 B"),
        (80 * 10**9, "limit", "80 GB"),
        (85_899_345_920, "limit", "85.899 GB"),
        (15_311_904_768, "GB", "15.312"),
        (9999.4, "number", "9,999"),
        (12041.3345, "number", "12,041"),
        (float("nan"), "number", "nan"),
        (1_128_590_290_019.0, "number", "1.129e+12"),
        (3_506_703_564_800, "flop", "3.507 T"),
        (4_282 * 10**15, "flop", "4.282 E"),
        (229_064_704_000, "tera", "0.229"),
        (19.5e12, "per second", "19.500 T/s"),
        (949.04, "per second", "949 /s"),
        (0.00176, "seconds", "1.76 ms"),
        (2e-6, "seconds", "2 µs"),
        (69.06, "seconds", "1.151 min"),
        (7200, "seconds", "2 h"),
        (86400 * 12345, "seconds", "12,345 days"),
        (5115.19, "days", "5,115.2"),
        ("words", "text", "words"),
        (None, "count", ""),
        (None, "seconds", ""),
    ],
)
def test_numbers_as_people_read_them(value: object, kind: str, text: str) -> None:
    assert readable(value, kind) == text


def test_people_see_the_unit_beside_the_number() -> None:
    assert TABLE.readable_rows() == [["a|b", "N d", "1.235 MB"], ["time", "", "250 ms"], ["nothing", "", ""]]
    assert TABLE.as_markdown() == (
        "### A small table\n\n| what | symbols | value |\n| --- | --- | ---: |\n"
        "| a\\|b | N d | 1.235 MB |\n| time |  | 250 ms |\n| nothing |  |  |\n\nA note.\n"
    )


def test_machines_get_all_digits_and_the_unit() -> None:
    assert TABLE.as_csv() == (
        "what,in symbols,value,unit\na|b,N d,1234567,bytes\ntime,,0.25,seconds\nnothing,,,count\n"
    )
    first, *_ = json.loads(json.dumps(TABLE.as_dict()))["rows"]
    assert first == {"what": "a|b", "in_symbols": "N d", "value": 1234567, "unit": "bytes"}
