"""The process that runs arms: told which by its standard input, a line each; answers on its standard output.

The end of the input is the wish to stop: the run that is under way finishes its step, saves and ends, whether the
parent wished it or was killed.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from cs336.errors import Cs336Error
from cs336.files import advise

_SECONDS_BETWEEN = 0.25
"""Between two lines on how far a run is."""


def main() -> None:
    """Runs one arm after the other until the input ends."""
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines: queue.Queue[str | None] = queue.Queue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(lines, busy), daemon=True).start()
    while (line := lines.get()) is not None:
        busy.set()
        answer = _answer(json.loads(line), lambda step: _tell(answers, {"step": step}))
        busy.clear()
        _tell(answers, answer)


def _listen(lines: queue.Queue[str | None], busy: threading.Event) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)  # which training takes as the wish to stop


def _answer(told: dict[str, Any], on_step: Any) -> dict[str, Any]:
    """The outcome of an arm, or the error that it met."""
    from cs336.experiments.arms import Arm, run_arm
    from cs336.training import make_config

    said = 0.0

    def now_and_then(step: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _SECONDS_BETWEEN:
            said = time.monotonic()
            on_step(step)

    folder = Path(told["folder"])
    try:
        arm = Arm(told["name"], make_config(told["config"]), told["about"])
        outcome = run_arm(arm, folder, keep_checkpoints=told["keep_checkpoints"], on_step=now_and_then)
    except OSError as error:
        return {"error": f"{error.filename}: {advise(error)}" if error.filename else advise(error)}
    except (Cs336Error, MemoryError) as error:
        return {"error": str(error) or type(error).__name__}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    return {"status": outcome.status, "at": outcome.step}


def _tell(answers: Any, told: dict[str, Any]) -> None:
    try:
        answers.write(json.dumps(told) + "\n")
        answers.flush()
    except BrokenPipeError:
        pass  # the parent is gone; the end of the input says so, too


if __name__ == "__main__":
    main()
