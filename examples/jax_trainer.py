"""A Flax network that learns ten digits, though each site has images of five only.

It is an ordinary JAX script; what makes it part of a federation is the loop at its end. A site
starts it with the digits that it has:

    python jax_trainer.py --digits 01234
"""

import argparse

import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import federant.client as flare
from federant.client.jax import load_parameters, parameters_of


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 32, rngs=rngs)
        self.output = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, images):
        return self.output(nnx.relu(self.hidden(images)))


@nnx.jit
def step(model, optimizer, images, digits):
    def loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), digits).mean()

    optimizer.update(model, nnx.grad(loss)(model))


def train(model, images, digits, epochs=2, batch=64, seed=0):
    optimizer = nnx.Optimizer(model, optax.sgd(0.2), wrt=nnx.Param)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        rows = rng.permutation(len(digits))
        for at in range(0, len(rows) - batch + 1, batch):
            step(model, optimizer, images[rows[at : at + batch]], digits[rows[at : at + batch]])


def split_digits():
    """The images and digits to learn from, then those that only judge."""
    images, digits = load_digits(return_X_y=True)
    images, held_out = (images / 16).astype(np.float32), np.arange(len(digits)) % 5 == 0
    return images[~held_out], digits[~held_out], images[held_out], digits[held_out]


def main():
    parser = argparse.ArgumentParser(description="Train on one site's digits.")
    parser.add_argument("--digits", required=True, help="the digits that this site has, 01234 say")
    args = parser.parse_args()

    images, digits, _, _ = split_digits()
    ours = np.isin(digits, [int(digit) for digit in args.digits])
    images, digits = images[ours], digits[ours]
    model = Classifier(nnx.Rngs(0))  # the same at every site in the first round

    flare.init()
    while flare.is_running():
        received = flare.receive()
        nnx.update(model, load_parameters(nnx.state(model, nnx.Param), received.params))
        train(model, images, digits, seed=received.current_round)
        params = parameters_of(nnx.state(model, nnx.Param))
        examples = {"NUM_STEPS_CURRENT_ROUND": len(digits)}
        flare.send(flare.FLModel(params=params, meta=examples))


if __name__ == "__main__":
    main()
