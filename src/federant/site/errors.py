"""The site's errors, as a tree; the pipe's and the link's own errors are not here.

SiteError
├── SiteConfigError         the site's file cannot be used as it stands
├── LaunchError             a trainer could not be started
├── TrainerDownError        there is no trainer, and none is to be started
├── TaskDataError           what the server sent as a task's data is of no use
├── UnreadableResultError   what came from the trainer is no result
├── JournalError            the job folder's journal is not usable by this version
├── FolderInUseError        another living process works in this folder
└── NameInUseError          a site daemon that works elsewhere goes by this site's name
"""

from __future__ import annotations


class SiteError(Exception):
    """Something at the site itself is wrong; the text says what, where, and what to do."""


class SiteConfigError(SiteError):
    """The site's file (or a job's file) is missing, unreadable, or says something impossible."""


class LaunchError(SiteError):
    """A trainer's command could not be started."""


class TrainerDownError(SiteError):
    """There is no trainer, and the site's file says that none is to be started."""


class TaskDataError(SiteError):
    """What the server sent as a task's data is no frame, or holds neither a DXO nor a Shareable."""


class UnreadableResultError(SiteError):
    """What came from the trainer is no frame, or holds no Shareable."""


class JournalError(SiteError):
    """A job's journal was written by another version, or is not a journal."""


class FolderInUseError(SiteError):
    """A living daemon or client job already works in the folder."""


class NameInUseError(SiteError):
    """The server knows another daemon by the site's name, and has heard of it a moment ago."""
