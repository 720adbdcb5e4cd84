"""Looks whether a machine can be a site, a server or an operator, and says what to do if not."""

from .examination import examine
from .findings import Finding, Level, worst
from .subject import DoctorError, Subject, subject_of

__all__ = ["DoctorError", "Finding", "Level", "Subject", "examine", "subject_of", "worst"]
