"""datetime, date, time and timedelta of the standard library, with zones of a fixed offset.

A zone with rules (zoneinfo) does not travel: the other end may have other rules, or none.
"""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo

from msgpack import ExtType

from federant.codec.errors import FrameError
from federant.codec.kinds import codes
from federant.codec.writer import Writer

_DATE = struct.Struct("<HBB")
_TIME = struct.Struct("<BBBIB")  # hour, minute, second, microsecond, fold
_DELTA = struct.Struct("<iII")  # days, seconds, microseconds
_SECONDS_A_DAY = 86_400
_MICROSECONDS = 1_000_000


def write_datetime(writer: Writer, value: datetime) -> object:
    day = _DATE.pack(value.year, value.month, value.day)
    return ExtType(codes.DATETIME, day + _clock(writer, value))


def write_date(_writer: Writer, value: date) -> object:
    return ExtType(codes.DATE, _DATE.pack(value.year, value.month, value.day))


def write_time(writer: Writer, value: time) -> object:
    return ExtType(codes.TIME, _clock(writer, value))


def write_timedelta(_writer: Writer, value: timedelta) -> object:
    return ExtType(codes.TIMEDELTA, _delta(value))


def read_datetime(payload: bytes) -> object:
    day, clock = payload[: _DATE.size], payload[_DATE.size :]
    try:
        return datetime.combine(date(*_DATE.unpack(day)), _read_clock(clock))
    except (ValueError, OverflowError, struct.error) as error:
        raise FrameError(f"the envelope has a malformed datetime: {error}") from error


def read_date(payload: bytes) -> object:
    try:
        return date(*_DATE.unpack(payload))
    except (ValueError, struct.error) as error:
        raise FrameError(f"the envelope has a malformed date: {error}") from error


def read_time(payload: bytes) -> object:
    try:
        return _read_clock(payload)
    except (ValueError, OverflowError, struct.error) as error:
        raise FrameError(f"the envelope has a malformed time: {error}") from error


def read_timedelta(payload: bytes) -> object:
    try:
        return _read_delta(payload)
    except (ValueError, OverflowError, struct.error) as error:
        raise FrameError(f"the envelope has a malformed timedelta: {error}") from error


def _clock(writer: Writer, value: datetime | time) -> bytes:
    """The time of day, and behind it the zone if there is one."""
    parts = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return _TIME.pack(*parts) + _zone(writer, value.tzinfo)


def _zone(writer: Writer, zone: tzinfo | None) -> bytes:
    if zone is None:
        return b""
    if type(zone) is not timezone:
        raise writer.refusal(
            f"its time zone is a {type(zone).__module__}.{type(zone).__qualname__}, and only those "
            "of a fixed offset travel: send value.astimezone(datetime.timezone.utc)"
        )
    offset, name = zone.utcoffset(None), zone.tzname(None)
    if name == timezone(offset).tzname(None):
        return _delta(offset)  # the name follows from the offset
    try:
        return _delta(offset) + name.encode()
    except UnicodeEncodeError as error:
        raise writer.refusal("its time zone's name is no text") from error


def _delta(value: timedelta) -> bytes:
    return _DELTA.pack(value.days, value.seconds, value.microseconds)


def _read_clock(payload: bytes) -> time:
    hour, minute, second, microsecond, fold = _TIME.unpack(payload[: _TIME.size])
    zone = _read_zone(payload[_TIME.size :])
    return time(hour, minute, second, microsecond, zone, fold=fold)


def _read_zone(payload: bytes) -> tzinfo | None:
    if not payload:
        return None
    offset, name = _read_delta(payload[: _DELTA.size]), payload[_DELTA.size :]
    if name:
        return timezone(offset, str(name, "utf-8"))
    return UTC if not offset else timezone(offset)


def _read_delta(payload: bytes) -> timedelta:
    days, seconds, microseconds = _DELTA.unpack(payload)
    if seconds >= _SECONDS_A_DAY or microseconds >= _MICROSECONDS:
        raise ValueError(f"{seconds} seconds and {microseconds} microseconds are beyond a day")
    return timedelta(days, seconds, microseconds)
