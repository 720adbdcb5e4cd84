"""The passive ends of a job's two channels, over what the site's file says; no message is read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from federant.client.meeting_point import KIND_VARIABLE, PIPE_VARIABLE
from federant.pipe import CellPipe, FileLayout, FilePipe, LocalPipe, Mode, Pipe, PipeKind
from federant.site.job_file import JobFile


class JobPipes:
    """The pipes of one job, and what a trainer must know to find them."""

    def __init__(self, job: JobFile, folder: Path, token: str, keep: Collection[Path]) -> None:
        """`folder` is for pipes of this host. `keep`: results that an earlier client job took."""
        trainer = job.trainer
        self.kind = trainer.pipe
        self.folder = folder if trainer.pipe_folder is None else trainer.pipe_folder
        self.tasks: Pipe
        self.metrics: Pipe
        self._local: list[LocalPipe] = []
        if self.kind is PipeKind.LOCAL:
            tasks = LocalPipe(
                Mode.PASSIVE, self.folder, token, job.spool_bytes, defer=True, keep=keep
            )
            metrics = LocalPipe(Mode.PASSIVE, self.folder, token, job.spool_bytes)
            self._local = [tasks, metrics]
            self.tasks, self.metrics = tasks, metrics
        elif self.kind is PipeKind.CELL:
            self.tasks = _cell_pipe(job, self.folder, keep, defer=True)
            self.metrics = _cell_pipe(job, self.folder, keep, defer=False)
        elif self.kind is PipeKind.NVFLARE_FILE:
            layout, timeout = FileLayout.NVFLARE, trainer.pipe_timeout_seconds
            # Made here: whichever end makes it removes it, and nvflare's does so with all in it.
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.tasks = FilePipe(
                Mode.PASSIVE,
                self.folder,
                peer_timeout=timeout,
                defer=True,
                keep=keep,
                layout=layout,
                taken_folder=folder / "taken",
            )
            self.metrics = FilePipe(Mode.PASSIVE, self.folder, peer_timeout=timeout, layout=layout)
        else:
            timeout = trainer.pipe_timeout_seconds
            self.tasks = FilePipe(
                Mode.PASSIVE, self.folder, peer_timeout=timeout, defer=True, keep=keep
            )
            self.metrics = FilePipe(Mode.PASSIVE, self.folder, peer_timeout=timeout)

    def use_token(self, token: str) -> None:
        """What the next trainer must show; in a shared folder the right to write is enough."""
        for pipe in self._local:
            pipe.token = token

    def environment(self) -> dict[str, str]:
        return {PIPE_VARIABLE: str(self.folder), KIND_VARIABLE: str(self.kind)}


def _cell_pipe(job: JobFile, folder: Path, keep: Collection[Path], *, defer: bool) -> CellPipe:
    trainer = job.trainer
    return CellPipe(
        Mode.PASSIVE,
        job.site,
        trainer.agent_id or "",
        job.relay,
        secure_mode=job.kit is not None,
        workspace_dir=str(job.kit or ""),
        root_path=folder,
        job_id=job.job_id,
        spool_bytes=job.spool_bytes,
        peer_timeout=trainer.pipe_timeout_seconds,
        defer=defer,
        keep=keep if defer else (),
        revoked=job.revoked,
    )
