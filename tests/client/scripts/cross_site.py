"""Trains, hands in its own model, and evaluates those of others, whatever it is asked for."""

import sys
from pathlib import Path

import numpy as np
import nvflare.client as flare

own_model = Path(sys.argv[1])  # kept from job to job

flare.init()
site_name = flare.get_site_name()
mean = float(site_name[-1])

while flare.is_running():
    model = flare.receive()
    if flare.is_train():
        params = {"mean": (model.params["mean"] + mean) / 2}
        np.savez(own_model, **params)
        flare.send(flare.FLModel(params=params))
    elif flare.is_evaluate():
        error = float(np.abs(model.params["mean"] - mean).max())
        flare.send(flare.FLModel(metrics={"error": error}))
    elif flare.is_submit_model():
        with np.load(own_model) as kept:
            flare.send(flare.FLModel(params=dict(kept)))
