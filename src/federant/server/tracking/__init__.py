"""Where a job's metrics go on to from the store: one file a sink, each a package of its own."""

from .base import Sink
from .settings import SinkSettings, SinkSettingsError, load_settings
from .sinks import Sinks

__all__ = ["Sink", "SinkSettings", "SinkSettingsError", "Sinks", "load_settings"]
