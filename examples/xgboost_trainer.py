"""XGBoost that learns ten digits by trees from every site, though each has images of five only.

The job runs the workflow tree_bagging: each round this site grows some trees on the booster of all
sites, and returns those. A site starts it with the digits that it has:

    python xgboost_trainer.py --digits 01234
"""

import argparse

import numpy as np
import xgboost
from sklearn.datasets import load_digits

import federant.client as flare
from federant.client.xgboost import boost

PARAMS = {
    "objective": "multi:softprob",
    "num_class": 10,
    "max_depth": 4,
    "eta": 0.3,
    "base_score": 0.5,  # the same at every site: else each takes it from its own data
}


def split_digits():
    """The images and digits to learn from, then those that only judge."""
    images, digits = load_digits(return_X_y=True)
    held_out = np.arange(len(digits)) % 5 == 0
    return images[~held_out], digits[~held_out], images[held_out], digits[held_out]


def main():
    parser = argparse.ArgumentParser(description="Grow trees on one site's digits.")
    parser.add_argument("--digits", required=True, help="the digits that this site has, 01234 say")
    args = parser.parse_args()

    images, digits, _, _ = split_digits()
    ours = np.isin(digits, [int(digit) for digit in args.digits])
    data = xgboost.DMatrix(images[ours], digits[ours])

    flare.init()
    while flare.is_running():
        model = flare.receive()
        grown = boost(PARAMS, data, model.params, trees=model.meta["trees"])
        examples = {"NUM_STEPS_CURRENT_ROUND": data.num_row()}
        flare.send(flare.FLModel(params=grown, meta=examples))


if __name__ == "__main__":
    main()
