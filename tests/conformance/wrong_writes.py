"""Sessions that are each wrong in one way of writing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from schoolgate_sdk import (
    ConnectorError,
    Departure,
    SourceKey,
    Transient,
    WriteReceipt,
    WriteRequest,
    WriteStopped,
)
from tests.conformance.toy_connector import ToySession


class WritesNothing(ToySession):
    async def write(self, request: WriteRequest) -> WriteReceipt:
        return WriteReceipt(("1",))


class NeverAsks(ToySession):
    """Tells nobody that a write leaves."""

    async def write(self, request: WriteRequest) -> WriteReceipt:
        return await super().write(replace(request, leaving=_let))


class AsksTwice(ToySession):
    async def write(self, request: WriteRequest) -> WriteReceipt:
        request.leaving(Departure("POST writes", ""))
        return await super().write(request)


class AsksTooLate(ToySession):
    """Tells that a write leaves once it has."""

    async def write(self, request: WriteRequest) -> WriteReceipt:
        receipt = await super().write(replace(request, leaving=_let))
        request.leaving(Departure("POST writes", ""))
        return receipt


class ShowsItsSecret(ToySession):
    async def write(self, request: WriteRequest) -> WriteReceipt:
        request.leaving(Departure("POST writes", self.connection.credentials["secret"]))
        return await super().write(replace(request, leaving=_let))


class ShowsNoTarget(ToySession):
    async def write(self, request: WriteRequest) -> WriteReceipt:
        request.leaving(Departure(" ", ""))
        return await super().write(replace(request, leaving=_let))


class GoesOn(ToySession):
    """Is stopped, and sends all the same."""

    async def write(self, request: WriteRequest) -> WriteReceipt:
        try:
            return await super().write(request)
        except WriteStopped:
            return await super().write(replace(request, leaving=_let))


class MistakesAStop(ToySession):
    """Takes a stop for a connection that broke."""

    async def write(self, request: WriteRequest) -> WriteReceipt:
        try:
            return await super().write(request)
        except WriteStopped:
            raise Transient("the connection broke") from None


def _let(departure: Departure) -> None:
    """Let everything leave."""


class TellsOtherKeys(ToySession):
    """Tells keys of what it wrote under which nothing is read."""

    def receipt(self, request: WriteRequest) -> WriteReceipt:
        receipt = super().receipt(request)
        return replace(receipt, keys=tuple(key._replace(namespace="toy/other") for key in receipt.keys))


class Retries(ToySession):
    """Sends a write again whose answer was lost, under no key."""

    async def write(self, request: WriteRequest) -> WriteReceipt:
        try:
            return await super().write(request)
        except Transient:
            return WriteReceipt((self.mis.write(request),))


class QuotesWhatItWrites(ToySession):
    async def write(self, request: WriteRequest) -> WriteReceipt:
        try:
            return await super().write(request)
        except ConnectorError as error:
            raise type(error)(f"{error}: {request.values.get('comment')}") from error


class TwoEffects(ToySession):
    """Leaves the idempotency key out."""

    def take(self, request: WriteRequest) -> None:
        if request.idempotency_key in self.mis.written and request.operation == "record_attendance_mark":
            second = replace(request, values={**request.values, "date": _next_day(request)})
            self.mis.written[request.idempotency_key] = (self.mis.write(second),)
        elif request.idempotency_key in self.mis.written and request.operation == "record_assessment_result":
            second = replace(request, values={**request.values, "assessment_name": "again"})
            self.mis.written[request.idempotency_key] = (self.mis.write(second),)
        else:
            self.mis.written[request.idempotency_key] = (self.mis.write(request),)


def _next_day(request: WriteRequest) -> str:
    return (date.fromisoformat(str(request.values["date"])) + timedelta(days=1)).isoformat()


class NeverRefused(ToySession):
    """Writes what is about nobody to somebody."""

    def take(self, request: WriteRequest) -> None:
        student = request.values["student_id"]
        assert isinstance(student, SourceKey)
        if student.parts[0] not in self.mis.world.pupils:
            somebody = student._replace(parts=(next(iter(self.mis.world.pupils)),))
            request = replace(request, values={**request.values, "student_id": somebody})
        super().take(request)
