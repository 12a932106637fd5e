"""The remote target without a network: a shell stands where the ssh client does; tests/system has a real sshd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
import tiny_models

from hardware_targets import BadModel, DeviceAway, DeviceFailure, TargetError, UnknownPart, _link, _remote, load
from hardware_targets._link import Link, LinkDown
from hardware_targets._lock import device_lock, lock_path
from hardware_targets._package import packed, start_command
from hardware_targets._wire import Closed, Reader, Silent, encoded
from hardware_targets.ssh import Target


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A python of its own temporary folder, so that its lock is not this machine's."""
    (tmp_path / "tmp").mkdir()
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nTMPDIR={tmp_path}/tmp exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


@pytest.fixture
def target(place: Path) -> Iterator[Target]:
    made = there(place)
    yield made
    made.close()


def there(place: Path, client: str = 'eval "$1"', **options: Any) -> Target:
    """A target whose client is a shell; `client` gets the remote command as $1."""
    made = Target(**{"host": "board", "python": str(place / "python"), "workdir": str(place / "work"), **options})
    made._client = ["sh", "-c", client, "sh"]
    made._remote._sleep = lambda _: None
    return made


@pytest.fixture
def bench(tmp_path: Path) -> dict[str, Path]:
    return {
        "model": tiny_models.multiply(tmp_path / "model.onnx", width=64),
        "big": tiny_models.multiply(tmp_path / "big.onnx", width=64, layers=12),
        "feeds": tiny_models.feeds(tmp_path / "feeds", width=64),
        "narrow": tiny_models.feeds(tmp_path / "narrow", width=5),
    }


def test_it_measures_and_predicts_as_the_target_there(target: Target, bench: dict[str, Path]) -> None:
    assert target.unavailable() is None
    assert target.conditions().fingerprint == load("local_cpu").conditions().fingerprint
    assert target.inputs(bench["model"]) == load("local_cpu").inputs(bench["model"])
    found = target.measure(bench["model"], bench["feeds"], bench["big"], bench["feeds"], seed=0, seconds=1)
    assert found.latency.ratio_high < 1 and found.conditions.threads == 1
    expected = load("local_cpu").predict(bench["big"], bench["feeds"])
    np.testing.assert_array_equal(target.predict(bench["big"], bench["feeds"]), expected)


def test_another_target_there_takes_its_options(place: Path) -> None:
    target = there(place, target="constrained_cpu", options={"memory_mb": 2000})
    assert "2000 MB" in str(target.conditions().limits)
    target.close()
    with pytest.raises(UnknownPart, match=r"on board: no target named 'local_gpu'; did you mean 'local_cpu'"):
        there(place, target="local_gpu").conditions()


def test_errors_arrive_as_they_were(target: Target, bench: dict[str, Path]) -> None:
    with pytest.raises(BadModel, match=r"on board: .*model\.onnx fails on a feed.*its inputs are: x"):
        target.predict(bench["model"], bench["narrow"])
    with pytest.raises(DeviceFailure, match=r"on board: .*stopped after its limit of 0\.01 s"):
        target.predict(bench["model"], bench["feeds"], time_limit_s=0.01)
    for model, feeds, said in (("absent", "feeds", "there is no file"), ("feeds", "feeds", "is a folder")):
        with pytest.raises(TargetError, match=said):
            target.predict(bench.get(model, Path(model)), bench[feeds])
    with pytest.raises(TargetError, match="holds no feeds"):
        target.predict(bench["model"], bench["model"].parent)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    verbs: list[str] = []
    ask = Link.ask

    def note(self: Link, message: Any, payload: bytes = b"") -> Any:
        verbs.append(message["verb"])
        return ask(self, message, payload)

    monkeypatch.setattr(Link, "ask", note)
    return verbs


def test_nothing_is_pushed_twice(place: Path, bench: dict[str, Path], heard: list[str]) -> None:
    for round_trip in range(2):
        target = there(place)
        target.predict(bench["model"], bench["feeds"])
        target.predict(bench["model"], bench["feeds"])
        target.close()
        assert heard.count("put") == 3, f"model, rows and their index, in round {round_trip} too"
    renamed = bench["model"].rename(bench["model"].with_name("other.onnx"))
    target = there(place)
    target.predict(renamed, bench["feeds"])
    target.close()
    assert heard.count("put") == 3
    assert len(list((place / "work" / "packages").iterdir())) == 1


def test_weights_beside_the_model_come_along(target: Target, bench: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "apart").mkdir()
    apart = tiny_models.multiply(tmp_path / "apart" / "model.onnx", width=64, layers=12, apart=True)
    assert apart.stat().st_size < 5000 < apart.with_name("model.onnx.data").stat().st_size
    expected = load("local_cpu").predict(bench["big"], bench["feeds"])
    np.testing.assert_array_equal(target.predict(apart, bench["feeds"]), expected)


def test_a_file_that_changed_is_pushed_again(target: Target, bench: dict[str, Path]) -> None:
    before = target.predict(bench["model"], bench["feeds"])
    tiny_models.multiply(bench["model"], width=64, layers=2)
    after = target.predict(bench["model"], bench["feeds"])
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, load("local_cpu").predict(bench["model"], bench["feeds"]))


def test_a_link_that_drops_while_pushing_goes_on_where_it_was(
    place: Path, bench: dict[str, Path], heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_remote, "CHUNK", 4096)
    target = there(place, retries=1)  # every drop here is the first after some progress
    pieces = sum(-(-path.stat().st_size // 4096) for path in (bench["big"], *bench["feeds"].iterdir()))
    ask, drops = Link.ask, {5, 9, 13, 17}

    def failing(self: Link, message: Any, payload: bytes = b"") -> Any:
        answer = ask(self, message, payload)
        if message["verb"] == "put" and heard.count("put") in drops:
            drops.remove(heard.count("put"))
            os.kill(self.pid, signal.SIGKILL)
        return answer

    monkeypatch.setattr(Link, "ask", failing)
    assert target.predict(bench["big"], bench["feeds"]).shape == (5, 3)
    target.close()
    assert not drops and pieces <= heard.count("put") <= pieces + 4, "a drop costs at most the piece on its way"


@pytest.mark.parametrize("victim", ["agent", "measuring process"])
def test_a_death_there_frees_the_lock(victim: str, target: Target, place: Path, bench: dict[str, Path]) -> None:
    lock = lock_path(place / "tmp")
    killed: list[int] = []

    def kill() -> None:
        while not (lock.exists() and lock.read_text()):
            time.sleep(0.02)
        measuring = int(lock.read_text())
        killed.extend([measuring, processes.parent(measuring)])
        os.kill(killed[1] if victim == "agent" else killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    arguments = (bench["model"], bench["feeds"], bench["big"], bench["feeds"])
    if victim == "agent":
        assert target.measure(*arguments, seed=0, seconds=2).latency.ratio < 1, "measured again, by a new agent"
    else:
        with pytest.raises(DeviceFailure, match=r"on board: .*was killed by SIGKILL"):
            target.measure(*arguments, seed=0, seconds=2)
    thread.join()
    assert processes.within(2, lambda: processes.ended(killed[0]))
    with device_lock(lock, 2.0):
        pass


def test_the_agent_goes_with_its_caller_and_leaves_nothing_behind(
    target: Target, place: Path, bench: dict[str, Path]
) -> None:
    lock = lock_path(place / "tmp")
    errors: list[Exception] = []

    def measure() -> None:
        try:
            target.measure(bench["big"], bench["feeds"], bench["big"], bench["feeds"], seed=0, seconds=60)
        except (TargetError, LinkDown) as error:
            errors.append(error)

    target._remote._retries = 0
    thread = threading.Thread(target=measure)
    thread.start()
    assert processes.within(30, lambda: lock.exists() and lock.read_text() != "")
    measuring = int(lock.read_text())
    agent = processes.parent(measuring)
    assert target._remote._link is not None
    os.kill(target._remote._link.pid, signal.SIGKILL)  # the shell became the agent: this is its caller going
    thread.join(20)
    assert errors and isinstance(errors[0], DeviceAway)
    assert processes.within(10, lambda: all(processes.ended(number) for number in (measuring, agent)))
    with device_lock(lock, 2.0):
        pass


def test_a_caller_waits_as_long_as_the_agent_works(
    target: Target, bench: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no longer: an agent that stands still answers no beats."""
    monkeypatch.setattr(_link, "SILENCE_S", 1.0)
    monkeypatch.setattr(_link, "BEAT_S", 0.2)
    arguments = (bench["model"], bench["feeds"], bench["model"], bench["feeds"])
    assert target.measure(*arguments, seed=0, seconds=3).latency.ratio > 0
    target._remote._retries = 0
    assert target._remote._link is not None
    os.kill(target._remote._link.pid, signal.SIGSTOP)
    with pytest.raises(DeviceAway, match="it did not answer in time"):
        target.conditions()


def test_an_agent_whose_caller_falls_silent_ends(tmp_path: Path) -> None:
    """A laptop that was shut sends no end of file."""
    code = (
        "from pathlib import Path; import hardware_targets._agent as agent; agent.SILENCE_S = 0.5; "
        f"agent.serve(Path({str(tmp_path)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.wait(15) == 0


def test_an_agent_whose_caller_goes_removes_what_it_was_working_in(place: Path, bench: dict[str, Path]) -> None:
    """End of file stops the measuring process and its folder is removed."""
    request = {"verb": "predict", "target": "local_cpu", "options": {}, "id": 1}
    target = there(place)
    target.predict(bench["model"], bench["feeds"])
    target.close()
    from hardware_targets._bundles import listing, of_feeds, of_model

    files = {"model": listing(of_model(bench["model"])), "feeds": listing(of_feeds(bench["feeds"]))}
    slow = place / "slow"
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *_child*) touch {place}/began; sleep 60;; esac\nexec {sys.executable} "$@"\n'
    )
    slow.chmod(0o755)
    code = (
        f"import sys; sys.executable = {str(slow)!r}; from pathlib import Path; "
        f"import hardware_targets._agent as agent; agent.serve(Path({str(place / 'work')!r}))"
    )
    environment = {**os.environ, "TMPDIR": str(place / "tmp")}
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment) as process:
        assert process.stdin
        process.stdin.write(encoded({**request, **files}))
        process.stdin.flush()
        assert processes.within(20, (place / "began").exists)
        process.stdin.close()
        assert process.wait(4) == 0
    assert [path.name for path in (place / "tmp").iterdir() if path.is_dir()] == []


ENDINGS = [
    ("Host key verification failed.", 255, "host key of board is not known here. Type: .*compare the fingerprint"),
    (
        "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
        255,
        "another machine answers.*ssh-keygen -R board",
    ),
    ("pi@board: Permission denied (publickey).", 255, "board refuses the login .*ssh-copy-id board"),
    ("sh: python9: not found", 127, "no .*python on board.*in `python:`"),
]


@pytest.mark.parametrize(("said", "code", "sentence"), ENDINGS, ids=["unknown key", "new key", "login", "python"])
def test_what_trying_again_does_not_help_is_said_at_once(said: str, code: int, sentence: str, place: Path) -> None:
    target = there(place, f"printf '%s\\n' '{said}' >&2; echo x >> {place}/tried; exit {code}")
    with pytest.raises(DeviceFailure, match=sentence) as told:
        target.conditions()
    assert not isinstance(told.value, DeviceAway)
    assert (place / "tried").read_text().count("x") == 1


def test_a_device_that_stays_away_is_tried_again_and_then_away(place: Path) -> None:
    target = there(place, f"echo x >> {place}/tried; echo ssh: connect to host board: No route to host >&2; exit 255")
    pauses: list[float] = []
    target._remote._sleep = pauses.append
    with pytest.raises(DeviceAway, match=r"board does not answer.*No route to host.*then try again"):
        target.conditions()
    assert pauses == [1, 2, 4, 8, 16] and (place / "tried").read_text().count("x") == 6
    pauses.clear()
    assert "No route to host" in (target.unavailable() or "") and pauses == []


def test_what_a_login_shell_prints_is_no_answer(place: Path, bench: dict[str, Path]) -> None:
    target = there(place, 'echo Welcome; echo "{}"; eval "$1"')
    assert target.predict(bench["model"], bench["feeds"]).shape == (5, 3)
    target.close()


def test_a_python_without_numpy_says_what_to_install(place: Path) -> None:
    (place / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    assert "pip install numpy pyyaml onnxruntime" in (there(place).unavailable() or "")


def test_an_old_python_says_so() -> None:
    from hardware_targets import _bootstrap

    code = Path(_bootstrap.__file__).read_text().replace("(3, 11)", "(99, 0)")
    out = subprocess.run([sys.executable, "-c", code, "work", "0"], capture_output=True, text=True, check=True).stdout
    assert out.startswith(_bootstrap.MARK) and "name a Python 3.11 or newer" in out


def test_host_keys_are_verified_and_nothing_is_asked() -> None:
    client = Target(host="board", user="pi", port=2222, identity_file="~/key", config_file="c")._client
    assert "StrictHostKeyChecking=yes" in client and "BatchMode=yes" in client
    assert not any("StrictHostKeyChecking=no" in word or "UserKnownHostsFile" in word for word in client)
    assert client[-2:] == ["--", "board"] and str(Path("~/key").expanduser()) in client
    assert client[client.index("-p") + 1] == "2222" and client[client.index("-l") + 1] == "pi"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "-oProxyCommand=touch x"}, "host is .* which is no name"),
        ({"host": "a b"}, "host is"),
        ({"host": "board", "user": "-l"}, "user is"),
        ({"host": "board", "retries": -1}, "retries is -1"),
        ({"host": "board", "target": "ssh"}, "target is 'ssh' there too"),
    ],
)
def test_odd_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TargetError, match=said):
        load("ssh", **options)


def test_without_a_host_it_says_what_to_give() -> None:
    assert "give `host:`" in (load("ssh").unavailable() or "")
    with pytest.raises(TargetError, match="give `host:`"):
        load("ssh").conditions()


def test_the_package_is_the_same_each_time_and_whole() -> None:
    digest, content = packed()
    packed.cache_clear()
    assert packed() == (digest, content)
    assert digest in start_command("python3", "~/.cache/niwaki")
    assert start_command("~/my venv/bin/python", "w").startswith("exec \"$HOME\"/'my venv/bin/python' -c ")


def test_messages_come_whole_out_of_any_pieces() -> None:
    out, into = os.pipe()
    reader = Reader(out)
    data = encoded({"verb": "a"}, b"\n\x00payload") + encoded({"verb": "b"})
    for place in range(0, len(data), 7):
        os.write(into, data[place : place + 7])
    assert reader.message(1) == ({"verb": "a", "bytes": 9}, b"\n\x00payload")
    assert reader.message(1)[0]["verb"] == "b"
    with pytest.raises(Silent):
        reader.message(0.05)
    os.close(into)
    with pytest.raises(Closed):
        reader.message(1)
    os.close(out)
