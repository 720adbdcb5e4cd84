"""A site's trainer: learns to tell handwritten digits apart, from the images of this site only.

It is an ordinary program. What makes it part of a federation is ``federant.join`` and the loop
round ``agent.tasks``; the site starts it with the path of its own share of the images:

    python digits_trainer.py --data share.npz
"""

import argparse

import numpy as np

import federant
from federant.exchange import AnalyticsDataType, create_analytic_dxo

FEATURES, DIGITS = 512, 10
EPOCHS, BATCH, RATE = 5, 32, 20.0


def features(images):
    """Cosines of random mixtures of the pixels; one fixed seed makes them alike at every site."""
    rng = np.random.default_rng(7)
    mix, shift = (
        rng.normal(0, 0.6, (images.shape[1], FEATURES)),
        rng.uniform(0, 2 * np.pi, FEATURES),
    )
    return (np.cos(images @ mix + shift) * np.sqrt(2 / FEATURES)).astype(np.float32)


def fresh_model():
    return {
        "weights": np.zeros((FEATURES, DIGITS), np.float32),
        "bias": np.zeros(DIGITS, np.float32),
    }


def predict(model, inputs):
    """The probability of each digit, for each row of the inputs."""
    scores = inputs @ model["weights"] + model["bias"]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def evaluate(model, inputs, labels):
    """Mean loss (cross-entropy), and the share of images that are told right."""
    chances = predict(model, inputs)
    loss = -np.log(chances[np.arange(len(labels)), labels] + 1e-9).mean()
    return float(loss), float((chances.argmax(axis=1) == labels).mean())


def train(model, inputs, labels, rng, epochs=EPOCHS):
    """Gradient descent in small batches, in a random order; the model given in stays as it is."""
    weights, bias = model["weights"].copy(), model["bias"].copy()
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(labels)), max(1, len(labels) // BATCH)):
            error = predict({"weights": weights, "bias": bias}, inputs[rows])
            error[np.arange(len(rows)), labels[rows]] -= 1
            error /= len(rows)
            weights -= np.float32(RATE) * (inputs[rows].T @ error)
            bias -= np.float32(RATE) * error.sum(axis=0)
    return {"weights": weights, "bias": bias}


def main():
    parser = argparse.ArgumentParser(description="Train on one site's share of the digits.")
    parser.add_argument("--data", required=True, help=".npz file with images and labels")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    with np.load(args.data) as share:
        inputs, labels = features(share["images"]), share["labels"]

    with federant.join() as agent:
        for task in agent.tasks():
            model = task.data.data or fresh_model()  # the first round may begin with no model
            round_number = task.data.get_meta_prop("current_round", 0)
            model = train(model, inputs, labels, np.random.default_rng([args.seed, round_number]))

            loss, accuracy = evaluate(model, inputs, labels)
            for tag, value in {"loss": loss, "accuracy": accuracy}.items():
                agent.log(
                    create_analytic_dxo(
                        tag, value, AnalyticsDataType.SCALAR, global_step=round_number
                    )
                )
            examples = {federant.MetaKey.NUM_STEPS_CURRENT_ROUND: len(labels)}
            agent.submit_result(federant.DXO(federant.DataKind.WEIGHTS, data=model, meta=examples))


if __name__ == "__main__":
    main()
