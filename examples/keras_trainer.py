"""A Keras network that learns ten digits, though each site has images of five only.

It is an ordinary script round ``model.fit``; what makes it part of a federation is the loop at its
end. A site starts it with the digits that it has, KERAS_BACKEND says what Keras computes with:

    KERAS_BACKEND=jax python keras_trainer.py --digits 01234
"""

import argparse

import keras
import numpy as np
from sklearn.datasets import load_digits

import federant.client as flare
from federant.client.keras import EpochMetrics, load_parameters, parameters_of


def new_model():
    keras.utils.set_random_seed(0)  # the same model at every site in the first round
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="output"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.2), loss, metrics=["accuracy"])
    return model


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
    model = new_model()

    flare.init()
    metrics = EpochMetrics()
    while flare.is_running():
        load_parameters(model, flare.receive().params)
        model.fit(images, digits, batch_size=64, epochs=2, verbose=0, callbacks=[metrics])
        examples = {"NUM_STEPS_CURRENT_ROUND": len(digits)}
        flare.send(flare.FLModel(params=parameters_of(model), meta=examples))


if __name__ == "__main__":
    main()
