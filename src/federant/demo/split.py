"""The digits, held-out test set and one share a site; the same seed gives the same split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

DIGITS: Final = 10
TEST_SHARE: Final = 0.2
CONCENTRATION: Final = 0.7
"""Of the Dirichlet distribution that deals each digit out to the sites: lower is more uneven."""
SMALLEST_SHARE: Final = 60
"""A split that leaves a site with fewer images is drawn again."""
DRAWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Share:
    """Images, float32 of shape (n, 64) from 0 to 1, and their digits, int64 of shape (n,)."""

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def save(self, path: Path) -> None:
        """Writes an ``.npz`` file with the arrays ``images`` and ``labels``."""
        np.savez(path, images=self.images, labels=self.labels)


@dataclass(frozen=True, slots=True)
class Split:
    """One share a site, all of them pooled, and the test set that no share contains."""

    shares: tuple[Share, ...]
    pooled: Share
    test: Share


def load_digits() -> Share:
    """scikit-learn's bundled handwritten digits: 1,797 images of 8 by 8 pixels."""
    from sklearn.datasets import load_digits as bundled

    images, labels = bundled(return_X_y=True)
    return Share((images / 16.0).astype(np.float32), labels.astype(np.int64))


def split_digits(sites: int, seed: int, digits: Share | None = None) -> Split:
    """Deals the images out to the sites: unevenly, and each digit by another draw.

    ValueError if no draw gives every site at least SMALLEST_SHARE images.
    """
    digits = load_digits() if digits is None else digits
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(digits))
    held_out = round(len(digits) * TEST_SHARE)
    test, rest = order[:held_out], order[held_out:]
    for _ in range(DRAWS):
        rows = _deal(rng, rest, digits.labels, sites)
        if min(len(share) for share in rows) >= SMALLEST_SHARE:
            return Split(
                shares=tuple(_pick(digits, share) for share in rows),
                pooled=_pick(digits, rest),
                test=_pick(digits, test),
            )
    raise ValueError(
        f"{len(rest)} images cannot be split among {sites} sites so that each has at least "
        f"{SMALLEST_SHARE}; ask for fewer sites"
    )


def _deal(
    rng: np.random.Generator,
    rows: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    sites: int,
) -> list[npt.NDArray[np.int64]]:
    hands: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(sites)]
    for digit in range(DIGITS):
        ours = rng.permutation(rows[labels[rows] == digit])
        portions = rng.dirichlet([CONCENTRATION] * sites)
        cuts = np.round(np.cumsum(portions)[:-1] * len(ours)).astype(np.int64)
        for hand, part in zip(hands, np.split(ours, cuts), strict=True):
            hand.append(part)
    return [np.sort(np.concatenate(hand)) for hand in hands]


def _pick(digits: Share, rows: npt.NDArray[np.int64]) -> Share:
    return Share(digits.images[rows], digits.labels[rows])
