"""Shaping: gives codes their meaning and drops what the school's data profile does not ask for."""

from __future__ import annotations

from google.protobuf.message import Message

from schoolgate.v1.kind_pb2 import Kind
from schoolgate_sdk.kinds import KINDS
from schoolgate_server.model.codes import Meanings
from schoolgate_server.model.profile import Dropped


class Shaper:
    """Shapes messages in place, by one school's meanings and profile. No connector can bypass it."""

    def __init__(self, meanings: Meanings, dropped: Dropped) -> None:
        self._dropped = dropped
        self._coded = {
            kind: [
                (code_field, meaning_field, dict(meanings.get(kind, {}).get(code_field, {})))
                for code_field, meaning_field in info.coded.items()
                if code_field not in dropped[kind]
            ]
            for kind, info in KINDS.items()
        }

    def shape(self, kind: Kind.ValueType, message: Message) -> tuple[str, ...]:
        """Drop fields of ``message`` and fill in its canonical meanings.

        Returns:
            The code fields whose code has no meaning; usually none.
        """
        message.DiscardUnknownFields()
        for field in self._dropped[kind]:
            message.ClearField(field)
        unmapped: tuple[str, ...] = ()
        for code_field, meaning_field, codes in self._coded[kind]:
            number = codes.get(getattr(message, code_field))
            if number is not None:
                setattr(message, meaning_field, number)
                continue
            message.ClearField(meaning_field)
            if message.HasField(code_field):
                unmapped += (code_field,)
        return unmapped
