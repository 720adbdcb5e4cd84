"""Keras chooses what it computes with before it is imported, by whichever test does that first."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
