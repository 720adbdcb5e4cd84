"""The mean of the models that sites return, whatever their numbers are; no input or output."""

from .mean import AggregationError, Path, WeightedMean, leaves, path_text, text_of

__all__ = ["AggregationError", "Path", "WeightedMean", "leaves", "path_text", "text_of"]
