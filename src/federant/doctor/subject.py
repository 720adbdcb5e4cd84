"""Who is examined: read from a startup kit, from a site's or server's own file, or from both."""

from __future__ import annotations

import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from federant.link import LinkConfigError
from federant.link.identity import Role
from federant.link.kit import Kit, load_kit

from .findings import Finding, ok, problem

if TYPE_CHECKING:
    from federant.site.config import SiteConfig

_FILES: Final = {Role.SITE: "site.toml", Role.SERVER: "server.toml"}
_SITE_KEYS: Final = ("name", "server", "trainers", "kit", "spool_bytes")


class DoctorError(Exception):
    """There is nobody to examine; the text says what to name."""


@dataclass(slots=True)
class Subject:
    """What is known of who is examined; what could not be read is among the findings."""

    role: Role | None = None
    """None: an operator without a kit, or somebody whose files cannot be read."""
    kit: Kit | None = None
    server: str | None = None
    """The address of the server."""
    folder: Path | None = None
    """Where it works."""
    site: SiteConfig | None = None
    findings: list[Finding] = field(default_factory=list)


def subject_of(kit: Path | None = None, file: Path | None = None) -> Subject:
    """Read what there is.  DoctorError if there is no such folder or file at all."""
    for path in (kit, file):
        if path is not None and not path.exists():
            raise DoctorError(f"{path} is not there; name a startup kit (--kit DIR) or a file")
    subject = Subject()
    if file is not None and file.is_dir():
        raise DoctorError(f"{file} is a folder; if it is a startup kit, name it by --kit {file}")
    if kit is not None:
        _read_kit(subject, kit)
        if file is None and subject.role in _FILES and (kit / _FILES[subject.role]).is_file():
            file = kit / _FILES[subject.role]
        elif file is None and subject.role is Role.SITE:
            subject.findings.append(
                problem(
                    "file",
                    f"{kit / _FILES[Role.SITE]} is not there, without which the site does not run",
                    "copy the whole kit again, or name the site's file too",
                )
            )
    if file is not None:
        try:
            raw = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            text = f"{file} cannot be read as TOML: {error}"
            subject.findings.append(problem("file", text, "correct the file"))
            return subject
        if subject.role is Role.SITE or (
            subject.role is None and any(key in raw for key in _SITE_KEYS)
        ):
            _read_site(subject, file, kit)
        else:
            _read_server(subject, file, kit)
    elif subject.role is Role.SERVER and kit is not None:
        subject.folder = kit / "data"
    return subject


def _read_kit(subject: Subject, folder: Path) -> None:
    try:
        subject.kit = load_kit(folder)
    except LinkConfigError as error:
        # Each of its errors ends in what to do.
        subject.findings.append(problem("kit", str(error)))
        return
    subject.role, subject.server = subject.kit.identity.role, subject.kit.server
    if subject.role is Role.AGENT:
        # There lies what its trainer sends and is sent.
        subject.folder = Path(tempfile.gettempdir())
    dials = f", which dials {subject.kit.relay}" if subject.kit.relay else ""
    subject.findings.append(ok("kit", f"{folder}, of {subject.kit.identity.title}{dials}"))


def _read_site(subject: Subject, file: Path, kit: Path | None) -> None:
    from federant.site.config import load_config
    from federant.site.errors import SiteConfigError

    subject.role = Role.SITE
    try:
        config = load_config(file, kit)
    except SiteConfigError as error:
        subject.findings += [problem("file", line) for line in str(error).splitlines()]
        return
    if config.kit is not None and subject.kit is None:
        _read_kit(subject, config.kit)
    subject.site, subject.server, subject.folder = config, config.server, config.folder
    subject.findings.append(ok("file", f"{file}, of site {config.name}"))


def _read_server(subject: Subject, file: Path, kit: Path | None) -> None:
    from federant.server.config import ServerConfigError, load_config

    subject.role = Role.SERVER
    try:
        config = load_config(file)
    except ServerConfigError as error:
        subject.findings += [problem("file", line) for line in str(error).splitlines()]
        return
    subject.folder = config.folder or (kit / "data" if kit else None)
    if subject.kit is None:
        host = config.host or "127.0.0.1"
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - nothing listens here
        subject.server = f"http://{host}:{config.port or 8750}"
    subject.findings.append(ok("file", f"{file}, of the server"))
