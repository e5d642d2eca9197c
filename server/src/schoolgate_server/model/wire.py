"""Serialised messages put into others without being read (https://protobuf.dev/programming-guides/encoding/)."""

from __future__ import annotations

from typing import NamedTuple

_LENGTH_DELIMITED = 2


class Serialised(NamedTuple):
    """A whole message that is sent as it is, in place of an object that would only be serialised again."""

    wire: bytes


def field_tag(number: int) -> bytes:
    """Return what stands before a message that is field ``number`` of another, and before its length."""
    return _varint(number << 3 | _LENGTH_DELIMITED)


def embedded(tag: bytes, wire: bytes) -> bytes:
    """Return the message ``wire`` as the field of ``tag`` of another one."""
    return tag + _varint(len(wire)) + wire


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    return bytes((number & 0x7F | 0x80,)) + _varint(number >> 7)
