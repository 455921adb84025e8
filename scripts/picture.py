"""Runs the quickstart and refreshes what the README shows of it: the screen, the loss curve, a story, figures.

Usage: python scripts/picture.py [options of cs336 quickstart]
"""

from __future__ import annotations

import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
BEGIN, END = "<!-- quickstart: written by `make picture` -->\n", "<!-- end of quickstart -->\n"
WIDTH = 88
LINES_A_SECTION = 12
# A window around the text. Fonts are the reader's own: a picture in a README may load nothing.
WINDOW = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{unique_id}">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="#1e2227"/>
<g transform="translate(9, 16)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def run_quickstart(folder: Path, options: list[str]) -> str:
    """Runs it as a terminal would, colours included, and returns what it printed."""
    words = ["quickstart", "--run", "runs/quickstart-1", *options]
    code = f"from cs336.cli import cli; cli.main({words!r}, prog_name='cs336', color=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"COLUMNS": str(WIDTH), "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        print(line, end="", flush=True)
        printed.append(line)
    if process.wait() != 0:
        sys.exit("the quickstart failed; nothing was changed")
    return "".join(printed)


def sections(printed: str) -> list[list[str]]:
    """The lines of each section; a section begins with its title, in bold."""
    parts = re.split(r"\n(?=\x1b\[1m)", printed.strip("\n"))
    return [part.strip("\n").split("\n") for part in parts]


def picture(parts: list[list[str]]) -> str:
    """The screen as SVG. Of long sections but the last it shows the beginning."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(Text("$ make quickstart\n", style="green"))
    # A model that has learned little writes control characters, which XML does not take.
    control = re.compile(r"[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f]")
    for part in parts:
        last = part is parts[-1]
        shown = part if last or len(part) <= LINES_A_SECTION else [*part[:LINES_A_SECTION], "\x1b[2m...\x1b[0m"]
        console.print(Text.from_ansi(control.sub("\ufffd", "\n".join(shown))))
    return console.export_svg(title="", code_format=WINDOW, unique_id="quickstart")


def machine() -> str:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (names := re.findall(r"^model name\s*: (.+)$", info.read_text("utf-8"), re.MULTILINE)):
        cpu = names[0]
    import torch

    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()}, {versions}"


def figures(done: list[str]) -> str:
    """The closing table of the quickstart as Markdown."""
    rows = [match.groups() for line in done if (match := re.fullmatch(r" *(\S.*?) {2,}([\d.,]+) *", line))]
    return "\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows)])


def write_readme(story: str, done: list[str]) -> None:
    """Replaces what stands between the marks."""
    quoted = "\n".join(f"> {line}".rstrip() for line in story.strip().splitlines())
    parts = [
        "![The screen of a run](docs/images/quickstart.svg)",
        "One of the stories that it wrote at the end:",
        quoted,
        "![Loss by step, training and validation](docs/images/loss.png)",
        figures(done),
        f"Measured with `make quickstart` on {machine()}.",
    ]
    readme = ROOT / "README.md"
    before, rest = readme.read_text("utf-8").split(BEGIN)
    readme.write_text(before + BEGIN + "\n" + "\n\n".join(parts) + "\n\n" + END + rest.split(END)[1], encoding="utf-8")


def main() -> None:
    """Runs, draws, writes."""
    with tempfile.TemporaryDirectory() as folder:
        printed = run_quickstart(Path(folder), sys.argv[1:])
        run = Path(folder) / "runs" / "quickstart-1"
        parts = sections(printed)
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / "quickstart.svg").write_text(picture(parts), encoding="utf-8")
        shutil.copyfile(run / "loss.png", IMAGES / "loss.png")
        write_readme((run / "samples.txt").read_text("utf-8").split("<|endoftext|>")[0], parts[-1])


if __name__ == "__main__":
    main()
