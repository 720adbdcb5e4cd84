"""Looks whether a machine can take part, as whoever its kit is of, and says what to do if not."""

from .examination import examine
from .findings import Finding, Level, worst
from .subject import DoctorError, Subject, subject_of

__all__ = ["DoctorError", "Finding", "Level", "Subject", "examine", "subject_of", "worst"]
