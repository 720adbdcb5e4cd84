"""federant: any training process joins a federation through an agent of a few lines."""

__version__ = "0.1.0"
