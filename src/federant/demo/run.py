"""The demo from beginning to end: split, federate, compare, report."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from federant.demo.display import Display, display_for
from federant.demo.federation import TRAINER, FederationError, LocalFederation
from federant.demo.interrupts import Interrupts
from federant.demo.judge import Judge, trainer_file
from federant.demo.progress import Progress, SiteProgress
from federant.demo.report import Report
from federant.demo.split import Share, split_digits
from federant.link.messages import JobState
from federant.link.operator import Job

_REFRESH_SECONDS: Final = 0.2
"""The longest that the display goes without news; news wakes it at once."""
_GOODBYE_SECONDS: Final = 2.0
"""How long the last metrics may take to arrive once the job has ended."""
_CLOSING_SECONDS: Final = 1.2
"""About what drawing the picture and ending the processes take."""
_REMOVE_SECONDS: Final = 10.0
"""For the temporary folder to be gone."""
_LOG_NAME: Final = re.compile(r"(server|site-\d+(-.+)?)\.log")
"""What the demo calls the logs that it keeps."""


def run_demo(
    *, rounds: int = 10, sites: int = 3, seed: int = 0, out: Path, console: Console
) -> Report:
    """Run the federation and write what it found into `out`, which is made only then.

    When this returns or raises, no process of it lives and none of its files is left but those in
    `out`; should that fail, FederationError says what is left. Interrupted, a KeyboardInterrupt,
    after SIGINT, SIGTERM or SIGHUP. FederationError if the federation itself fails; ValueError, at
    once, if `out` cannot be written.
    """
    _try_out(out)
    with Interrupts() as interrupts:
        with interrupts.raised():
            console.print(
                f"One server, {sites} sites and {sites} trainers, each a process of its own, "
                "learn to read handwritten digits.",
                highlight=False,
            )
            split = split_digits(sites, seed)
            judge = Judge(split, seed)
            shares = {f"site-{number + 1}": share for number, share in enumerate(split.shares)}
            progress = Progress(
                total_rounds=rounds,
                test_images=len(split.test),
                sites={name: SiteProgress(len(share)) for name, share in shares.items()},
                # All sites' images together are as many as are pooled.
                seconds_after=2 * rounds * judge.seconds_a_round(split.pooled) + _CLOSING_SECONDS,
            )
            console.print(
                f"{len(split.pooled)} images, dealt out unevenly; {len(split.test)} more that no "
                "training sees.\n",
                highlight=False,
            )
        with display_for(console) as display, _temporary_folder() as folder:
            federation = LocalFederation(folder, _prepare(folder, shares, seed))
            demo = _Demo(federation, progress, judge, display, interrupts)
            try:
                with interrupts.raised():
                    report = demo.run(shares, split.pooled, seed)
            finally:
                federation.stop()
            _keep(out, folder, federation.logs())
            demo.finish()
    console.print()
    report.print(console)
    place = f"\nEverything lies in {out.resolve()}:"
    console.print(place, markup=False, highlight=False, soft_wrap=True)
    console.print(
        "  accuracy.png       accuracy by round\n"
        "  model.safetensors  the federated model; any safetensors tool opens it\n"
        "  report.json        the numbers above\n"
        "  logs/              what server, sites and trainers said",
        highlight=False,
    )
    return report


@dataclass(frozen=True, slots=True)
class _Demo:
    """What happens while the processes live."""

    federation: LocalFederation
    progress: Progress
    judge: Judge
    display: Display
    interrupts: Interrupts

    def run(self, shares: Mapping[str, Share], pooled: Share, seed: int) -> Report:
        """The federation and what it is compared with; the results lie in `_results` then."""
        names, rounds = list(shares), self.progress.total_rounds
        self._say(f"starting the server and {len(names)} sites")
        self.federation.start()
        began = time.monotonic()
        job = self.federation.client.submit(
            name="handwritten digits",
            trainer=TRAINER,
            sites=names,
            rounds=rounds,
            min_sites=len(names),
        )
        self._say("waiting until all sites are ready")
        self._watch(job)
        seconds = time.monotonic() - began
        alone = {
            name: self._compare(share, f"{name}'s images alone") for name, share in shares.items()
        }
        report = Report(
            seed=seed,
            test_images=self.progress.test_images,
            images={name: len(share) for name, share in shares.items()},
            alone=alone,
            pooled=self._compare(pooled, "all data pooled"),
            rounds=[self.progress.scores[number][1] for number in sorted(self.progress.scores)],
            seconds=seconds,
        )
        self._say("drawing the picture")
        results = _results(self.federation.folder)
        results.mkdir()
        (results / "model.safetensors").write_bytes(job.model_bytes())
        report.save(results / "report.json")
        report.draw(results / "accuracy.png")
        self._say("ending all processes")
        return report

    def finish(self) -> None:
        """The last thing that is shown; the results are kept, so nothing interrupts any more."""
        self.progress.over = True
        self.progress.doing = ""
        self.display.show(self.progress)

    def _say(self, doing: str) -> None:
        self.interrupts.check()
        self.progress.doing = doing
        self.display.show(self.progress)

    def _compare(self, share: Share, what: str) -> float:
        self._say(f"for comparison, training on {what}")
        began = time.monotonic()
        accuracy = self.judge.train_alone(share, self.progress.total_rounds)
        took = time.monotonic() - began
        self.progress.seconds_after = max(_CLOSING_SECONDS, self.progress.seconds_after - took)
        return accuracy

    def _watch(self, job: Job) -> None:
        """Show the job until it has ended; FederationError if it ended badly."""
        progress, after = self.progress, 0
        goodbye: float | None = None
        while True:
            self.interrupts.check()
            news = job.events(after, 0.1 if goodbye else _REFRESH_SECONDS)
            after = news.next
            progress.take_events(news.events)
            for model in job.models():
                if model.round not in progress.scores:
                    score = self.judge.score(job.model(model.round).data)
                    progress.take_score(model.round, *score)
            view = job.view()  # last, so that its bytes are those of all the rounds shown
            progress.take_view(view)
            if progress.round is not None:
                progress.doing = ""
            self.display.show(progress)
            if news.job_state.ended:
                goodbye = goodbye or time.monotonic() + _GOODBYE_SECONDS
                if all(site.state.gone for site in view.sites) or time.monotonic() > goodbye:
                    break
            else:
                self.federation.check()
        if view.state is not JobState.FINISHED:
            said = "; ".join(f"{site.site}: {site.text}" for site in view.sites if site.text)
            raise FederationError(
                f"the job {view.state.value}: {view.error or 'no reason given'} {said}"
            )


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder that is gone afterwards; FederationError if it is not."""
    folder = Path(tempfile.mkdtemp(prefix="federant-demo-"))
    try:
        yield folder
    finally:
        given_up = time.monotonic() + _REMOVE_SECONDS
        # More than once: a call that was in the kernel as its process was killed ends there first,
        # and may make a file behind the one that removes.
        while folder.exists() and time.monotonic() < given_up:
            shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise FederationError(f"{folder} could not be removed; remove it by hand")


def _prepare(folder: Path, shares: Mapping[str, Share], seed: int) -> dict[str, list[str]]:
    """Gives each site its share of the images; the trainers' commands by site."""
    commands = {}
    for name, share in shares.items():
        data = folder / f"{name}.npz"
        share.save(data)
        commands[name] = [sys.executable, str(trainer_file())]
        commands[name] += ["--data", str(data), "--seed", str(seed)]
    return commands


def _results(folder: Path) -> Path:
    """Where results wait until all are there: what is interrupted leaves no half of them."""
    return folder / "results"


def _try_out(out: Path) -> None:
    """ValueError if the results could not be written there in the end; leaves nothing behind."""
    logs = out / "logs"
    made = [folder for folder in (logs, *logs.parents) if not folder.exists()]
    try:
        logs.mkdir(parents=True, exist_ok=True)
        for folder in (out, logs):
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"the results cannot be written to {out}: {error.strerror} ({error.filename}); "
            "choose another folder with --out"
        ) from error
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _keep(out: Path, folder: Path, logs: list[Path]) -> None:
    """Put results and logs in place of those of an earlier demo; files of others stay."""
    (out / "logs").mkdir(parents=True, exist_ok=True)
    for result in _results(folder).iterdir():
        shutil.copyfile(result, out / result.name)
    for old in (out / "logs").iterdir():
        if _LOG_NAME.fullmatch(old.name):
            old.unlink()
    for log in logs:
        if log.stat().st_size:
            parts = log.relative_to(folder).parts  # site-1/jobs/<the only one>/trainer.log
            shutil.copyfile(log, out / "logs" / "-".join(dict.fromkeys((parts[0], parts[-1]))))
