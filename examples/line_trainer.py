"""Fits a line to the points in a file, which stay at their site; any array code would do.

It was a script before it was part of a federation: `init`, `receive` and `send` are what is new. A
site starts it with its own points, an x and a y on each line:

    python line_trainer.py points.csv
"""

import argparse

import numpy as np

import federant.client as flare
from federant.client.tracking import SummaryWriter


def fit(line, x, y, steps=200, rate=0.01):
    """The line after some steps downhill, and its mean squared error."""
    slope, height = line["slope"], line["height"]
    for _ in range(steps):
        error = slope * x + height - y
        slope = slope - rate * (error * x).mean()
        height = height - rate * error.mean()
    return {"slope": slope, "height": height}, float((error**2).mean())


def main():
    parser = argparse.ArgumentParser(description="Fit a line to one site's points.")
    parser.add_argument("points", help="a file with an x and a y on each line")
    args = parser.parse_args()
    x, y = np.loadtxt(args.points, delimiter=",", unpack=True)
    line = {"slope": np.zeros(1), "height": np.zeros(1)}

    flare.init()
    writer = SummaryWriter()
    while flare.is_running():
        model = flare.receive()
        line = model.params or line  # without an initial model the first task brings none
        line, loss = fit(line, x, y)
        writer.add_scalar("loss", loss, model.current_round)
        flare.send(
            flare.FLModel(
                params=line,
                metrics={"loss": loss},
                meta={"NUM_STEPS_CURRENT_ROUND": len(x)},  # its weight in the mean
            )
        )


if __name__ == "__main__":
    main()
