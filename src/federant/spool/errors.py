"""The errors of the spool, as a tree; errors of what the files contain are the codec's.

SpoolError
├── SpoolFullError                the frames that readers still hold use up the byte limit: wait
├── SpoolLimitError               the frame is larger than the byte limit: it will never fit
├── SpoolDiskFullError (OSError)  the file system has no room
├── SpoolClosedError              the writer was closed
└── SpoolFileError                a file is missing, too short, or not a plain file of the spool
"""


class SpoolError(Exception):
    """Whatever goes wrong in the spool."""


class SpoolFullError(SpoolError):
    """There is no room until a reader gives a file back."""


class SpoolLimitError(SpoolError):
    """The frame is larger than the whole spool may be."""


class SpoolDiskFullError(SpoolError, OSError):
    """The file system could not set the file's bytes aside."""


class SpoolClosedError(SpoolError):
    """The writer has given its folder up."""


class SpoolFileError(SpoolError):
    """A named file cannot be read as the frame that it is said to be."""
