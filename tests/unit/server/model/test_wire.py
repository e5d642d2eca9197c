from __future__ import annotations

import pytest

from schoolgate.v1.query_service_pb2 import QueryRecordsResponse
from schoolgate.v1.record_pb2 import Record
from schoolgate_server.model.wire import embedded, field_tag


@pytest.mark.parametrize(
    "length", [0, 1, 100, 123, 124, 125, 126, 16_000, 16_378, 16_379, 16_380, 2_097_140, 2_097_150]
)
def test_a_message_is_embedded_as_protobuf_does_it(length: int) -> None:
    record = Record(run_id="x" * length)
    embeds = embedded(field_tag(QueryRecordsResponse.RECORDS_FIELD_NUMBER), record.SerializeToString())
    assert embeds == QueryRecordsResponse(records=[record]).SerializeToString()


def test_the_tag_of_a_high_number_has_two_bytes() -> None:
    record = Record()
    record.local_code.SetInParent()
    assert embedded(field_tag(Record.LOCAL_CODE_FIELD_NUMBER), b"") == record.SerializeToString()
