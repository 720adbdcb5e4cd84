"""Logistic regression in numpy: evaluates what it gets, trains on, sends both back."""

import argparse

import numpy as np
import nvflare.client as flare

EXAMPLES = {"site-1": 60, "site-2": 180}
FEATURES = 5


def load_data(site):
    rng = np.random.default_rng(sum(site.encode()))
    inputs = rng.normal(size=(EXAMPLES[site], FEATURES))
    labels = (inputs @ np.arange(1, FEATURES + 1) + 1 > 0).astype(float)
    return inputs, labels


def predict(params, inputs):
    return 1 / (1 + np.exp(-(inputs @ params["weight"] + params["bias"])))


def evaluate(params, inputs, labels):
    return float(((predict(params, inputs) > 0.5) == labels).mean())


def train(params, inputs, labels, epochs):
    weight, bias = params["weight"].copy(), params["bias"].copy()
    for _ in range(epochs):
        error = predict({"weight": weight, "bias": bias}, inputs) - labels
        weight -= inputs.T @ error / len(labels)
        bias -= error.mean()
    return {"weight": weight, "bias": bias, "examples_seen": params["examples_seen"] + len(labels)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()

    flare.init()
    inputs, labels = load_data(flare.system_info()["site_name"])

    while flare.is_running():
        input_model = flare.receive()
        accuracy = evaluate(input_model.params, inputs, labels)
        new_params = train(input_model.params, inputs, labels, args.epochs)
        output_model = flare.FLModel(
            params=new_params,
            params_type=flare.ParamsType.FULL,
            metrics={"accuracy": accuracy},
            meta={"NUM_STEPS_CURRENT_ROUND": len(labels)},
        )
        flare.send(output_model)


if __name__ == "__main__":
    main()
