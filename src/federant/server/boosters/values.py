"""Values in a booster's JSON, taken out as what they must be; knows nothing of trees."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from federant.exchange import ReturnCode
from federant.server.boosters.errors import BadBoosterError
from federant.server.boosters.limits import BoosterLimits

_LARGEST_INT: Final = 2**63 - 1
_LARGEST_FLOAT: Final = float(np.finfo(np.float32).max)
_LONGEST_TEXT: Final = 1_000_000


def parse(text: bytes | bytearray, limits: BoosterLimits) -> Any:
    """The JSON in a text; nothing is read that is too long, or would take far more memory."""
    if len(text) > limits.text_bytes:
        raise BadBoosterError(
            f"the booster's text has {len(text)} bytes and may have {limits.text_bytes}; "
            "return only the trees that this task added, or fewer and smaller ones"
        )
    if text[:2] != b'{"':
        raise BadBoosterError(
            f"the booster begins with {bytes(text[:4])!r}, which is no JSON; "
            "return booster.save_raw('json'), which parameters_of does"
        )
    parts = text.count(b"[") + text.count(b"{")
    texts = text.count(b'"') // 2
    if parts > limits.parts or texts > limits.texts:
        raise BadBoosterError(
            f"the booster has {parts} lists and objects and {texts} texts; "
            f"it may have {limits.parts} and {limits.texts}"
        )
    try:
        return json.loads(text.decode(), parse_constant=_refuse_constant)
    except BadBoosterError:
        raise
    # Python refuses what nests too deep, and integers of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise BadBoosterError(f"the booster is no JSON: {error}") from error


def member(found: Any, *path: str) -> Any:
    """What lies under these keys; BadBoosterError that names the one that is missing."""
    for depth, key in enumerate(path):
        if not isinstance(found, dict) or key not in found:
            raise BadBoosterError(f"the booster lacks {'.'.join(path[: depth + 1])}")
        found = found[key]
    return found


def integer(value: Any, name: str, low: int, high: int) -> int:
    """A whole number, which XGBoost also writes as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 11:
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise BadBoosterError(f"{name} is {_shown(value)}, it must be from {low} to {high}")
    return value


def integers(value: Any, name: str, low: int, high: int) -> NDArray[np.int64]:
    """A list of whole numbers."""
    found = _array(value, name)
    if not found.size:
        return np.zeros(0, np.int64)
    if found.dtype.kind not in "iu" or not (low <= found.min() and found.max() <= high):
        raise BadBoosterError(f"{name} must be whole numbers from {low} to {high}")
    return found.astype(np.int64)


def numbers(value: Any, name: str) -> NDArray[np.float64]:
    """A list of finite numbers that float32 holds."""
    found = _array(value, name)
    if not found.size:
        return np.zeros(0)
    if found.dtype.kind not in "iuf" or not np.abs(found).max() <= _LARGEST_FLOAT:
        raise _not_finite(name)
    return found.astype(np.float64)


def texts(value: Any, name: str) -> list[str]:
    """A list of texts that can be printed, so that they are written without escapes."""
    if not isinstance(value, list):
        raise BadBoosterError(f"{name} must be a list of texts, it is {_shown(value)}")
    for text in value:
        if not isinstance(text, str) or not text.isprintable():
            raise BadBoosterError(f"{name} holds {_shown(text)}, which is no printable text")
    return value


def floats_in_text(value: Any, name: str) -> tuple[float, ...]:
    """Numbers as XGBoost writes them into a text: ``5E-1``, or ``[5E-1,2E0]``."""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise BadBoosterError(f"{name} must be numbers in a text, it is {_shown(value)}")
    try:
        found = tuple(float(part) for part in value.strip("[]").split(","))
    except ValueError as error:
        raise BadBoosterError(f"{name} must be numbers in a text, it is {_shown(value)}") from error
    if not all(abs(number) <= _LARGEST_FLOAT for number in found):
        raise _not_finite(name)
    return found


def plain(value: Any, name: str, depth: int = 3) -> Any:
    """Any small JSON of printable texts and finite numbers, as it is."""
    if isinstance(value, str):
        return texts([value], name)[0]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return integer(value, name, -_LARGEST_INT, _LARGEST_INT)
    if isinstance(value, float):
        return numbers([value], name).item()
    if depth and isinstance(value, list):
        return [plain(part, name, depth - 1) for part in value]
    if depth and isinstance(value, dict):
        return {texts([key], name)[0]: plain(part, name, depth - 1) for key, part in value.items()}
    raise BadBoosterError(f"{name} nests too deep")


def float32_text(value: np.float32) -> float:
    """The float that is written with the fewest digits and read as this float32."""
    return float(str(value))


def _array(value: Any, name: str) -> NDArray[Any]:
    if not isinstance(value, list):
        raise BadBoosterError(f"{name} must be a list, it is {_shown(value)}")
    # Before numpy sees it, which would give each of many texts the room of the longest.
    if others := set(map(type, value)) - {int, float}:
        raise BadBoosterError(f"{name} must be numbers, it has a {others.pop().__name__}")
    return np.asarray(value)


def _not_finite(name: str) -> BadBoosterError:
    return BadBoosterError(
        f"{name} holds a number that is not finite, or too large for float32 "
        "(did the training diverge?)",
        ReturnCode.RESULT_NOT_FINITE,
    )


def _refuse_constant(name: str) -> NoReturn:
    raise BadBoosterError(
        f"the booster holds {name}; its numbers must be finite (did the training diverge?)",
        ReturnCode.RESULT_NOT_FINITE,
    )


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
