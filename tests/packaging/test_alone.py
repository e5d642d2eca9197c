"""What messages and SDK promise to those who install them and nothing else of ours."""

from __future__ import annotations

import pytest

from tests.packaging.installing import Workshop

pytestmark = pytest.mark.slow

_ALL_MESSAGES = """
import importlib, importlib.util, pkgutil
import schoolgate.v1
assert importlib.util.find_spec("grpc") is None
from schoolgate.v1 import kind_pb2, people_pb2, record_pb2
modules = [m.name for m in pkgutil.iter_modules(schoolgate.v1.__path__) if not m.name.endswith("_grpc")]
for name in modules:
    importlib.import_module(f"schoolgate.v1.{name}")
record = record_pb2.Record(
    id="stu_1", kind=kind_pb2.KIND_STUDENT, student=people_pb2.Student(surname="Reid")
)
assert record_pb2.Record.FromString(record.SerializeToString()) == record
print(len(modules))
"""


def test_messages_work_without_grpc(workshop: Workshop) -> None:
    environment = workshop.environment("proto", "schoolgate-proto")
    assert set(environment.distributions()) == {"protobuf", "schoolgate-proto"}
    assert int(environment.output("python", "-W", "error", "-c", _ALL_MESSAGES)) > 10


def test_a_third_party_plugin_needs_the_sdk_alone(workshop: Workshop) -> None:
    acme = workshop.plugin("acme")
    environment = workshop.environment("acme", str(acme))
    assert set(environment.distributions()) == {
        "schoolgate-acme",
        "schoolgate-sdk",
        "schoolgate-proto",
        "protobuf",
        "orjson",
        "pluggy",
    }
    said = environment.output("python", "-W", "error", str(acme / "check.py"))
    assert said == "Acme MIS 2.1.0: all is well\n"


def test_the_synthetic_world_comes_with_the_base_sdk(workshop: Workshop) -> None:
    environment = workshop.environment("acme", str(workshop.plugin("acme")))
    code = "from schoolgate_sdk.testing.world import World; print(len(World.build(1, pupils=30).pupils))"
    assert int(environment.output("python", "-W", "error", "-c", code)) == 30
