"""The private server: closed to others, kept between starts, gone with its owner."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from schoolgate_server.store.embedded import EmbeddedMongod, EmbeddedOptions
from schoolgate_server.store.errors import EmbeddedError
from schoolgate_server.store.store import Store
from tests.support.mongo import data_folder
from tests.support.store_samples import SettableClock, commit, leased, student, student_id, surnames

pytestmark = pytest.mark.mongod

OWNER = """
import asyncio, sys
from pathlib import Path
from schoolgate_server.store.embedded import EmbeddedMongod, EmbeddedOptions
async def main():
    mongod = EmbeddedMongod(EmbeddedOptions(Path(sys.argv[1]), cache_gb=0.25))
    await mongod.start()
    print(mongod.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
def folder() -> Generator[Path]:
    with data_folder() as parent:
        yield Path(parent) / "mongod"


@pytest.fixture
async def embedded(folder: Path) -> AsyncGenerator[Callable[..., EmbeddedMongod]]:
    made: list[EmbeddedMongod] = []

    def make(**options: Any) -> EmbeddedMongod:
        chosen: dict[str, Any] = {"folder": folder, "cache_gb": 0.25, **options}
        mongod = EmbeddedMongod(EmbeddedOptions(**chosen))
        made.append(mongod)
        return mongod

    yield make
    for mongod in made:
        await mongod.stop()


def client_of(uri: str) -> AsyncMongoClient[dict[str, Any]]:
    return AsyncMongoClient(uri, serverMonitoringMode="poll", serverSelectionTimeoutMS=2000)


def port_of(mongod: EmbeddedMongod) -> int:
    return int(mongod.uri.split("@127.0.0.1:")[1].split("/")[0])


def runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


async def test_data_outlast_stopping_and_a_change_of_port(embedded: Callable[..., EmbeddedMongod]) -> None:
    mongod = embedded()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        other_port: int = probe.getsockname()[1]
    async with mongod:
        store = Store.open(client_of(mongod.uri), "schoolgate", SettableClock())
        await store.prepare()
        lease = await leased(store)
        await commit(store, lease, student(1, "Ash"))
        await store.leases.release(lease)
        await store.close()
    async with embedded(port=other_port) as moved:
        assert port_of(moved) == other_port
        store = Store.open(client_of(moved.uri), "schoolgate", SettableClock())
        await store.prepare()
        assert await surnames(store, 1) == {student_id(1): "Ash"}
        await commit(store, await leased(store), student(1, "Bly", 1))
        await store.close()


@pytest.mark.parametrize("cache_gb", [0.25, None])
async def test_the_cache_is_as_large_as_was_asked_for_or_as_mongodb_makes_it(
    cache_gb: float | None, embedded: Callable[..., EmbeddedMongod]
) -> None:
    async with embedded(cache_gb=cache_gb) as mongod, client_of(mongod.uri) as client:
        status = await client.admin.command("serverStatus")
        host = await client.admin.command("hostInfo")
    memory = host["system"]["memLimitMB"] / 1024
    cache = status["wiredTiger"]["cache"]["maximum bytes configured"] / (1 << 30)
    assert cache == pytest.approx(max(0.25, (memory - 1) / 2) if cache_gb is None else cache_gb, abs=0.01)


async def test_the_port_stays_from_start_to_start_while_it_is_free(
    embedded: Callable[..., EmbeddedMongod],
) -> None:
    mongod = embedded()
    async with mongod:
        first = port_of(mongod)
    async with mongod:
        assert port_of(mongod) == first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        async with mongod:
            assert port_of(mongod) != first


async def test_others_stay_out(embedded: Callable[..., EmbeddedMongod], folder: Path) -> None:
    folder.mkdir(mode=0o755)
    async with embedded() as mongod:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in ("password", "keyfile"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        async with client_of(f"mongodb://127.0.0.1:{port_of(mongod)}/?directConnection=true") as stranger:
            for attempt in (
                stranger["schoolgate"]["schools"].find_one(),
                stranger["schoolgate"]["schools"].insert_one({}),
                stranger.admin.command("createUser", "mallory", pwd="x", roles=["root"]),
                stranger.admin.command("shutdown", force=True),
            ):
                with pytest.raises(OperationFailure, match="auth"):
                    await attempt
        listening = [
            line
            for line in Path("/proc/net/tcp").read_text().splitlines()
            if f":{port_of(mongod):04X} " in line
        ]
        assert {line.split()[1].split(":")[0] for line in listening if line.split()[3] == "0A"} == {
            "0100007F"
        }
        assert not Path(f"/tmp/mongodb-{port_of(mongod)}.sock").exists()
        password = (folder / "password").read_text()
        command = Path(f"/proc/{mongod.pid}/cmdline").read_text()
        assert password not in command
        assert password not in repr(mongod)
        assert "networkMessageCompressors\0disabled" in command


async def test_two_servers_have_different_passwords(
    embedded: Callable[..., EmbeddedMongod], folder: Path
) -> None:
    async with embedded() as one, embedded(folder=folder.with_name("other")) as two:
        assert one.uri.split("@")[0] != two.uri.split("@")[0]
        assert port_of(one) != port_of(two)


async def test_a_running_server_on_the_folder_is_a_clear_error(
    embedded: Callable[..., EmbeddedMongod],
) -> None:
    async with embedded() as running:
        with pytest.raises(EmbeddedError, match=f"process {running.pid}"):
            await embedded(wait_seconds=0.2).start()
        async with client_of(running.uri) as client:
            await client.admin.command("ping")


async def test_a_taken_port_is_a_clear_error(embedded: Callable[..., EmbeddedMongod]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EmbeddedError, match="is in use"):
            await embedded(port=taken.getsockname()[1]).start()


async def test_a_lost_password_is_a_clear_error(
    embedded: Callable[..., EmbeddedMongod], folder: Path
) -> None:
    async with embedded():
        pass
    (folder / "password").unlink()
    with pytest.raises(EmbeddedError, match="password"):
        await embedded().start()


async def test_a_program_that_is_no_mongod_is_a_clear_error(
    embedded: Callable[..., EmbeddedMongod], tmp_path: Path
) -> None:
    script = tmp_path / "mongod"
    script.write_text("#!/bin/sh\necho 'libcrypto.so.3: cannot open shared object file' >&2\nexit 127\n")
    script.chmod(0o755)
    with pytest.raises(EmbeddedError, match="libcrypto"):
        await embedded(binary=script).start()


async def test_a_server_that_does_not_get_ready_is_given_up_and_ended(
    embedded: Callable[..., EmbeddedMongod], tmp_path: Path
) -> None:
    script = tmp_path / "mongod"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    script.chmod(0o755)
    with pytest.raises(EmbeddedError, match=r"not ready after 0\.5 seconds"):
        await embedded(binary=script, start_seconds=0.5).start()
    assert not runs(int((tmp_path / "pid").read_text()))


async def test_one_that_ignores_the_request_to_end_is_killed(
    embedded: Callable[..., EmbeddedMongod], tmp_path: Path
) -> None:
    script = tmp_path / "mongod"
    script.write_text(f"#!/bin/sh\ntrap '' TERM\necho $$ > {tmp_path}/pid\nwhile :; do sleep 0.1; done\n")
    script.chmod(0o755)
    with pytest.raises(EmbeddedError):
        await embedded(binary=script, start_seconds=0.5, stop_seconds=0.5).start()
    assert not runs(int((tmp_path / "pid").read_text()))


async def test_a_killed_server_leaves_a_stale_lock_that_does_not_matter(
    embedded: Callable[..., EmbeddedMongod],
) -> None:
    mongod = embedded()
    await mongod.start()
    async with client_of(mongod.uri) as client:
        await client["schoolgate"]["x"].insert_one({"_id": 1})
    assert mongod.pid is not None
    os.kill(mongod.pid, signal.SIGKILL)
    await mongod.stop()
    async with mongod, client_of(mongod.uri) as client:
        assert await client["schoolgate"]["x"].find_one() == {"_id": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no kernel ends a child with its parent")
async def test_the_server_ends_when_its_owner_is_killed_and_the_next_owner_can_start(
    embedded: Callable[..., EmbeddedMongod], folder: Path
) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    pid = int(await asyncio.to_thread(owner.stdout.readline))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    async with embedded(wait_seconds=20):  # waits for the dying one to let go
        assert not runs(pid)


async def test_ctrl_c_in_the_terminal_does_not_reach_the_server(folder: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    assert owner.stdout is not None
    pid = int(await asyncio.to_thread(owner.stdout.readline))
    try:
        assert os.getpgid(pid) != owner.pid
        assert os.getsid(pid) != os.getsid(0)
    finally:
        os.killpg(owner.pid, signal.SIGINT)
        owner.wait()
        owner.stdout.close()
    wait_until(lambda: not runs(pid))
