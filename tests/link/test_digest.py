"""A blob's name: the digest of its bytes, however they are cut into chunks."""

import array

import pytest

from federant.link import Hasher, blob_ref


def test_the_digest_is_that_of_blake3() -> None:
    # The empty input of the test vectors that the authors of BLAKE3 publish.
    assert blob_ref([]).digest == (
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    )


@pytest.mark.parametrize("step", [1, 7, 64, 1000])
def test_the_cuts_between_chunks_do_not_show(step: int) -> None:
    data = bytes(range(200)) * 3
    chunks = [memoryview(data)[at : at + step] for at in range(0, len(data), step)]
    assert blob_ref(chunks) == blob_ref([data])


def test_sizes_are_in_bytes_whatever_the_items() -> None:
    hasher = Hasher()
    hasher.update(memoryview(array.array("d", [1.0, 2.0])))
    assert hasher.size == 16
    assert hasher.ref().size == 16
