"""A scikit-learn classifier that learns ten digits, though each site has images of five only.

It is an ordinary script round ``partial_fit``; four calls of federant make it part of a federation.
A site starts it with the digits that it has:

    python sklearn_trainer.py --digits 01234
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

import federant
from federant.client.sklearn import initialise, load_parameters, parameters_of


def split_digits():
    """The images and digits to learn from, then those that only judge."""
    images, digits = load_digits(return_X_y=True)
    held_out = np.arange(len(digits)) % 5 == 0
    return images[~held_out] / 16, digits[~held_out], images[held_out] / 16, digits[held_out]


def new_model():
    """It knows all ten digits before it has seen one: every site's model has the same shape."""
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01, random_state=0)
    return initialise(model, n_features=64, classes=range(10))


def main():
    parser = argparse.ArgumentParser(description="Train on one site's digits.")
    parser.add_argument("--digits", required=True, help="the digits that this site has, 01234 say")
    args = parser.parse_args()

    images, digits, _, _ = split_digits()
    ours = np.isin(digits, [int(digit) for digit in args.digits])
    images, digits = images[ours], digits[ours]
    model = new_model()

    with federant.join() as agent:
        for task in agent.tasks():
            load_parameters(model, task.data.data)
            model.partial_fit(images, digits)
            examples = {federant.MetaKey.NUM_STEPS_CURRENT_ROUND: len(digits)}
            agent.submit_result(federant.DXO("WEIGHTS", parameters_of(model), examples))


if __name__ == "__main__":
    main()
