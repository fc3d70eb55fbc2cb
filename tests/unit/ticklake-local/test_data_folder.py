"""The data folder: its locks, its credentials, and who is recorded as running on it."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ticklake.errors import ConfigurationError, StageError
from ticklake_local.data_folder import DataFolder, Ports, Running

PORTS = Ports(kafka=1, store=2, warehouse=3)

HOLD = """
import sys, time
from pathlib import Path
from ticklake_local.data_folder import DataFolder
with DataFolder.at(Path(sys.argv[1])).locked("run"):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: DataFolder) -> "subprocess.Popen[str]":
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder.root)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_is_rejected_with_one_line_that_names_the_first(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path / "data")
    with hold(folder) as holder:
        with pytest.raises(ConfigurationError) as rejected, folder.locked("run"):
            pytest.fail("two processes hold the lock")
        assert f"process {holder.pid}" in str(rejected.value)
        assert str(folder.root) in str(rejected.value)
        assert "\n" not in str(rejected.value)
        with folder.locked("platform"):  # another lock of the same folder
            pass
        holder.kill()
    with folder.locked("run"):  # a killed process holds nothing
        assert (folder.root / "run.lock").read_text() == str(os.getpid())


def test_the_lock_is_given_back(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    for _ in range(2):
        with folder.locked("run"):
            pass
    with (tmp_path / "run.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_credentials_are_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path / "one")
    made = folder.credentials()
    path = folder.root / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert DataFolder.at(tmp_path / "one").credentials() == made
    assert len(made.secret_key.get_secret_value()) >= 32
    assert made.secret_key.get_secret_value() not in repr(made)
    assert DataFolder.at(tmp_path / "two").credentials().secret_key != made.secret_key
    assert [one.name for one in folder.root.iterdir() if "credentials" in one.name] == ["credentials.json"]


def test_damaged_credentials_are_named(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    (tmp_path / "credentials.json").write_text('{"access_key": "tick')
    with pytest.raises(ConfigurationError, match=r"credentials\.json is damaged: delete it"):
        folder.credentials()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="choose another --data"):
        DataFolder.at(tmp_path / "file" / "data")
    with pytest.raises(ConfigurationError, match="choose another --data"):
        DataFolder.at(tmp_path / "file")
    with pytest.raises(ConfigurationError, match=r"cannot use the data folder /proc/nowhere.*choose another --data"):
        DataFolder.at(Path("/proc/nowhere"))  # not even root can


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root can write to every folder that has no write permission")
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="choose another --data"):
        DataFolder.at(tmp_path)


def test_running_is_who_announced_it_until_it_stops(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    assert folder.running() is None
    own = Running(pid=os.getpid(), created=psutil.Process().create_time(), ports=PORTS)
    folder.announce(own)
    assert folder.running() == own
    folder.announce(None)
    assert folder.running() is None
    folder.announce(None)


def test_a_dead_process_does_not_run(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    child = subprocess.Popen(["sleep", "60"])
    folder.announce(Running(pid=child.pid, created=psutil.Process(child.pid).create_time(), ports=PORTS))
    assert folder.running() is not None
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert folder.running() is None  # not even while nobody has collected its exit code
    child.wait()
    assert folder.running() is None


def test_another_process_with_the_same_id_does_not_count(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    folder.announce(Running(pid=os.getpid(), created=psutil.Process().create_time() - 100, ports=PORTS))
    assert folder.running() is None


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]"])
def test_a_damaged_announcement_counts_as_none(tmp_path: Path, text: str) -> None:
    folder = DataFolder.at(tmp_path)
    (tmp_path / "running.json").write_text(text)
    assert folder.running() is None


def test_ports_are_remembered_and_damage_to_them_forgotten(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    assert folder.last_ports() is None
    folder.remember_ports(PORTS)
    assert DataFolder.at(tmp_path).last_ports() == PORTS
    (tmp_path / "ports.json").write_text("{")
    assert folder.last_ports() is None


def test_a_disk_with_too_little_room_is_named(tmp_path: Path) -> None:
    folder = DataFolder.at(tmp_path)
    folder.check_room()
    with pytest.raises(StageError, match=f"the disk of {tmp_path} is full .* make room, or choose another --data"):
        folder.check_room(2**60)
