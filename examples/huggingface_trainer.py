"""A vision transformer that learns handwritten digits at a site which has only some of them.

An ordinary script round Hugging Face's Trainer; the lines with ``flare`` and ``patch`` make it part
of a federation. With ``--lora`` only the weights of adapters are trained, and only they travel:

    python huggingface_trainer.py --digits 012345678
"""

import argparse
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from sklearn.datasets import load_digits
from transformers import (
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    set_seed,
)

import federant.client as flare
from federant.client.huggingface import patch


def split_digits(digits="0123456789"):
    """The images of these digits to learn from, then those of all that only judge."""
    images, labels = load_digits(return_X_y=True)
    rows = [
        {"pixel_values": torch.tensor(image.reshape(1, 8, 8) / 16).float(), "labels": int(label)}
        for image, label in zip(images, labels, strict=True)
    ]
    ours = [row for at, row in enumerate(rows) if at % 5 and str(row["labels"]) in digits]
    return ours, rows[::5]


def new_model(lora=False):
    """The same first weights at every site."""
    set_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64}
    layers = {"num_hidden_layers": 1, "num_attention_heads": 4}
    images = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 10}
    model = ViTForImageClassification(ViTConfig(**size, **layers, **images))
    if lora:
        adapters = {"target_modules": "all-linear", "modules_to_save": ["classifier"]}
        model = get_peft_model(model, LoraConfig(r=8, **adapters))
    return model


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}


def new_trainer(model, train, held_out, epochs=1):
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    data = {"train_dataset": train, "eval_dataset": held_out}
    return Trainer(model, arguments, compute_metrics=accuracy, **data)


def main():
    parser = argparse.ArgumentParser(description="Train on one site's digits.")
    parser.add_argument("--digits", default="0123456789", help="the digits that this site has")
    parser.add_argument("--lora", action="store_true", help="train adapters only")
    args = parser.parse_args()
    train, _ = split_digits(args.digits)
    trainer = new_trainer(new_model(args.lora), train, train)

    flare.init()
    patch(trainer)
    while flare.is_running():
        trainer.evaluate()
        trainer.train()


if __name__ == "__main__":
    main()
