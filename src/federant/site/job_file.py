"""What the daemon tells a client job, as a file in the job's folder; where what lies in there."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from federant.client.last_words import WORDS_FOLDER
from federant.client.meeting_point import JOIN_FILE
from federant.site.config import TrainerConfig
from federant.site.errors import SiteConfigError
from federant.site.private_file import write_whole


class JobFile(BaseModel):
    """One job at one site."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_id: str
    name: str
    site: str
    server: str
    kit: Path | None = None
    """The folder of the site's startup kit; None without TLS."""
    relay: str = ""
    """The address of the trainer's relay; empty if it has none."""
    revoked: Path | None = None
    """Where the site keeps which agents' certificates are good no more; None if it does not."""
    trainer: TrainerConfig
    """As the site's file has it, with placeholders filled in."""
    spool_bytes: int
    params: dict[str, Any] = Field(default_factory=dict)
    """The job's, for information; they decide nothing at the site."""


class JobFolder:
    """The paths of one job at one site."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.job = root / "job.json"
        self.alive = root / "alive"
        """Locked for as long as the client job lives; holds its process id."""
        self.ended = root / "ended.json"
        """There once the job has come to its end at this site."""
        self.journal = root / "journal.db"
        self.pipe = root / "pipe"
        self.last_words = self.pipe / WORDS_FOLDER
        """Where the processes of a trainer say what they crash of."""
        self.join = root / JOIN_FILE
        """For an external trainer: where to connect."""
        self.launches = root / "launches"
        self.log = root / "client_job.log"

    def write_job(self, job: JobFile) -> None:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self.job, job.model_dump_json(indent=2))

    def read_job(self) -> JobFile:
        """Raises SiteConfigError if there is no job file that can be used."""
        try:
            return JobFile.model_validate_json(self.job.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise SiteConfigError(
                f"{self.job}: cannot be used: {error}; a site daemon writes it"
            ) from error

    def finish(self) -> None:
        """The job is over here: what lies in the spool is of no use to anybody any more."""
        shutil.rmtree(self.pipe, ignore_errors=True)
        self.join.unlink(missing_ok=True)
        write_whole(self.ended, json.dumps({"time": time.time()}))

    def write_join(self, job: JobFile, token: str, pipe: Path) -> None:
        """For an external trainer: the file that federant.join(config=...) reads."""
        # A JSON string is a TOML string too.
        lines = {
            "pipe": str(pipe),
            "pipe_kind": str(job.trainer.pipe),
            "token": token,
            "site": job.site,
            "job": job.job_id,
        }
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
        text += f"heartbeat_timeout = {job.trainer.heartbeat_timeout_seconds}\n"
        text += f"spool_bytes = {job.spool_bytes}\n"
        write_whole(self.join, text)
