"""Runs the arms of a study in processes side by side; what is finished stays finished, what is half done goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from cs336.errors import WorkerError
from cs336.experiments.arms import Arm, Outcome, read_kept
from cs336.experiments.machine import cores
from cs336.training.run import choose_device
from cs336.training.signals import stop_on_signals

__all__ = ["Told", "jobs_for", "run_arms", "say_nothing"]

Told = Callable[[int, str], object]
"""Is told how many steps of all arms are done, and the news."""

_SECONDS_BETWEEN_LOOKS = 0.1


def say_nothing(done: int, news: str) -> None:
    """Tells nobody."""


def jobs_for(arms: Sequence[Arm], jobs: int | None) -> int:
    """How many arms run at once: on the CPU by default one a core, on a GPU one; never more than there are."""
    if jobs is None:
        on_cpu = choose_device(arms[0].config.training.device).type == "cpu"
        jobs = cores() if on_cpu else 1
    return max(1, min(jobs, len(arms)))


def run_arms(
    arms: Sequence[Arm], folder: Path, *, jobs: int, keep_checkpoints: bool = False, told: Told = say_nothing
) -> list[Outcome]:
    """Runs every arm that has not finished, each in its own folder below ``folder``, and gives what became of all.

    Each process gets its share of the cores as threads. Ctrl-C and SIGTERM let the runs save and stop; the arms that
    have not finished then say so. A second Ctrl-C ends them at once.
    """
    pool = _Pool(arms, folder, keep_checkpoints=keep_checkpoints, told=told)
    threads = max(1, cores() // jobs)
    stop = threading.Event()
    with stop_on_signals(stop), ThreadPoolExecutor(jobs) as executor:
        running = {executor.submit(pool.work, threads) for _ in range(jobs)}
        try:
            while running:
                ended, running = wait(running, timeout=_SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
                for one in ended:
                    one.result()  # raises what went wrong here rather than in a run
                if stop.is_set():
                    pool.stop()
        except BaseException:
            pool.kill()
            raise
    return [pool.outcomes[arm.name] for arm in arms]


class _Pool:
    """What the threads that look after the processes share."""

    def __init__(self, arms: Sequence[Arm], folder: Path, *, keep_checkpoints: bool, told: Told) -> None:
        self.folder, self.keep_checkpoints, self.told = folder, keep_checkpoints, told
        self.outcomes: dict[str, Outcome] = {}
        self.steps: dict[str, int] = {}
        self.lock = threading.Lock()
        self.stopping = False
        self.processes: list[_Process] = []
        self.waiting: queue.SimpleQueue[Arm] = queue.SimpleQueue()
        for arm in arms:
            kept = read_kept(folder / arm.name)
            if kept is None:
                self.outcomes[arm.name] = Outcome(arm.name, arm.about, "unfinished", arm.config.training.steps)
                self.waiting.put(arm)
            else:
                self._finished(arm, kept)

    def work(self, threads: int) -> None:
        """Takes arms until there are none left; a process that dies is replaced."""
        process: _Process | None = None
        try:
            while not self.stopping:
                try:
                    arm = self.waiting.get_nowait()
                except queue.Empty:
                    return
                if process is not None and not process.is_alive:
                    process.end()
                    process = None
                if process is None:
                    process = self._start(threads)
                self._run(arm, process)
        finally:
            if process is not None:
                process.end()

    def _start(self, threads: int) -> _Process:
        process = _Process(threads)
        with self.lock:
            self.processes.append(process)
            if self.stopping:
                process.stop()
        return process

    def _run(self, arm: Arm, process: _Process) -> None:
        folder = self.folder / arm.name
        asked = {
            "name": arm.name,
            "about": arm.about,
            "config": dataclasses.asdict(arm.config),
            "folder": str(folder),
            "keep_checkpoints": self.keep_checkpoints,
        }
        try:
            answer = process.ask(asked, lambda step: self._advance(arm, step))
        except WorkerError as error:
            answer = {"status": "unfinished", "at": 0} if self.stopping else {"error": str(error)}
        unfinished = self.outcomes[arm.name]
        if "error" in answer:
            self._finished(arm, dataclasses.replace(unfinished, status="failed", reason=answer["error"]))
        elif answer["status"] == "unfinished":
            self.outcomes[arm.name] = dataclasses.replace(unfinished, step=answer["at"])
        else:
            kept = read_kept(folder)
            assert kept is not None  # The process says so only after it has kept it.
            self._finished(arm, kept)

    def _advance(self, arm: Arm, step: int, news: str = "") -> None:
        with self.lock:
            self.steps[arm.name] = step
            self.told(sum(self.steps.values()), news)

    def _finished(self, arm: Arm, outcome: Outcome) -> None:
        self.outcomes[arm.name] = outcome
        loss = "" if outcome.loss is None else f", loss {outcome.loss:.3f}"
        self._advance(arm, arm.config.training.steps, f"{arm.name}: {outcome.status}{loss}")

    def stop(self) -> None:
        """Lets what runs save and end; nothing new begins."""
        with self.lock:
            self.stopping = True
            for process in self.processes:
                process.stop()

    def kill(self) -> None:
        """Ends all at once."""
        self.stopping = True
        for process in self.processes:
            process.kill()


class _Process:
    """A process that runs arms one after the other; see `arm_worker`."""

    def __init__(self, threads: int) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cs336.experiments.arm_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                encoding="utf-8",
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
                **_own_group(),
            )
        except BaseException:
            self.errors.close()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self.process.poll() is None

    def ask(self, asked: dict[str, Any], on_step: Callable[[int], object]) -> dict[str, Any]:
        """Gives it an arm, and waits for the answer; raises WorkerError where it dies instead."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
        except (OSError, ValueError):  # It has died, or it was stopped.
            pass
        for line in self.process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if "step" not in answer:
                return answer
            on_step(answer["step"])
        raise WorkerError(self._last_words())

    def _last_words(self) -> str:
        status = self.process.wait()
        how = signal.strsignal(-status) if status < 0 else f"exit status {status}"
        hint = "; perhaps memory ran out" if status == -9 else ""
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"the process of this run has died: {how}{hint}" + (f"; it said last: {last}" if last else "")

    def stop(self) -> None:
        """Lets it finish its step, save and end."""
        try:
            if self.process.stdin is not None:
                self.process.stdin.close()
        except OSError:
            pass  # It has died.

    def end(self) -> None:
        """Stops it, waits, and lets go of its files."""
        self.stop()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.errors.close()

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()


def _own_group() -> dict[str, Any]:
    """Ctrl-C in a terminal reaches all of a group, and here one process decides: the others are in their own."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"process_group": 0}
