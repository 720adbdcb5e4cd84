"""The split of the digits: seeded, uneven, and without the test set."""

import numpy as np
import pytest

from federant.demo.split import DIGITS, SMALLEST_SHARE, Share, load_digits, split_digits


def rows(share: Share) -> set[bytes]:
    return {image.tobytes() for image in share.images}


def test_every_image_is_in_one_share_or_in_the_test_set() -> None:
    split = split_digits(3, seed=0)
    everything = load_digits()
    assert sum(len(share) for share in split.shares) == len(split.pooled)
    assert len(split.pooled) + len(split.test) == len(everything) == 1797
    assert rows(split.pooled) == set().union(*(rows(share) for share in split.shares))
    assert rows(split.pooled) | rows(split.test) == rows(everything)


def test_no_training_image_is_in_the_test_set() -> None:
    split = split_digits(3, seed=4)
    assert not rows(split.pooled) & rows(split.test)


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    first, again, other = split_digits(3, seed=1), split_digits(3, seed=1), split_digits(3, seed=2)
    for share, same in zip(first.shares, again.shares, strict=True):
        np.testing.assert_array_equal(share.images, same.images)
        np.testing.assert_array_equal(share.labels, same.labels)
    assert rows(first.test) != rows(other.test)


def test_sites_differ_in_which_digits_they_have() -> None:
    split = split_digits(3, seed=0)
    for share in split.shares:
        counts = np.bincount(share.labels, minlength=DIGITS)
        assert max(counts) > 3 * (min(counts) + 1)


@pytest.mark.parametrize("sites", [2, 3, 8])
def test_no_site_is_left_with_next_to_nothing(sites: int) -> None:
    split = split_digits(sites, seed=0)
    assert len(split.shares) == sites
    assert min(len(share) for share in split.shares) >= SMALLEST_SHARE


def test_more_sites_than_the_images_can_serve_is_an_error() -> None:
    few = load_digits()
    few = Share(few.images[:200], few.labels[:200])
    with pytest.raises(ValueError, match="160 images cannot be split among 5 sites"):
        split_digits(5, seed=0, digits=few)
