"""Plugs over HTTP and logs of another program."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hardware_targets._counters import MeterFault, PolledPower
from hardware_targets.meters.wall_meter import VARIABLE, Log, Meter

ANSWERS = {
    "/rpc/Switch.GetStatus?id=0": {"id": 0, "output": True, "apower": 8.4, "aenergy": {"total": 12.345}},
    "/cm?cmnd=Status%208": {"StatusSNS": {"Time": "x", "ENERGY": {"Total": 3.185, "Power": 21, "Voltage": 230}}},
    "/now": {"data": [{"active_power": "5.5"}]},
}


@pytest.fixture
def plug() -> Iterator[str]:
    class Plug(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(ANSWERS.get(self.path, {})).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Plug)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("style", "path", "more", "watts"),
    [
        ("shelly", "/rpc/Switch.GetStatus?id=0", "", 8.4),
        ("tasmota", "/cm?cmnd=Status%208", "", 21),
        ("json", "/now", "watts: data.0.active_power", 5.5),
    ],
)
def test_plugs(
    plug: str, style: str, path: str, more: str, watts: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "plug.yaml"
    config.write_text(f"style: {style}\nurl: {plug}{path}\n{more}\n")
    monkeypatch.setenv(VARIABLE, str(config))
    seconds = itertools.count()
    meter = Meter(clock=lambda: float(next(seconds)), background=False)
    assert meter.unavailable() is None
    assert meter.boundary == "wall" and style in meter.source()
    reader = meter.open()
    assert isinstance(reader, PolledPower)
    assert [reader.joules(), reader.joules()] == pytest.approx([watts, 2 * watts])


def test_what_is_wrong_with_a_plug_is_a_sentence(plug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert VARIABLE in str(Meter().unavailable())
    config = tmp_path / "plug.yaml"
    assert "cannot be read" in str(Meter(config).unavailable())
    for text, said in {
        "style: kettle": "must say `style: `",
        "[]": "must say `style: `",
        "style: shelly": "no `url:`",
        "style: json\nurl: http://x": "no `watts:`",
        f"style: shelly\nurl: {plug}/elsewhere": "no number at apower",
        "style: shelly\nurl: file:///etc/passwd": "must begin with http://",
        "style: csv\npath: nowhere.csv": "cannot be read",
    }.items():
        config.write_text(text)
        assert said in str(Meter(config).unavailable()), text


def test_a_log_is_added_up_by_its_own_times(tmp_path: Path) -> None:
    log, config = tmp_path / "log.csv", tmp_path / "log.yaml"
    log.write_text("time,volts,watts\n1,230,999\n2,230,999\n")
    config.write_text(f"style: csv\npath: {log}\n")
    now = [0.0]
    meter = Meter(config, clock=lambda: now[0])
    assert meter.unavailable() is None
    reader = meter.open()
    assert isinstance(reader, Log) and reader.joules() == 0
    with log.open("a") as file:
        file.write("10,230,8\n11,230,10\n12,230,1")  # what stood there before counts for nothing, half a line waits
    assert reader.joules() == pytest.approx(9)
    with log.open("a") as file:
        file.write("2\n")
    assert reader.joules() == pytest.approx(9 + 11)
    now[0] = 60.0
    with pytest.raises(MeterFault, match="has not grown"):
        reader.joules()


@pytest.mark.parametrize(
    ("lines", "said"),
    [("9,5\n", "jumps by -1"), ("99,5\n", "jumps by 89"), ("11,-4\n", "no plug carries"), ("11,off\n", "no reading")],
)
def test_faults_of_a_log(lines: str, said: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("time,watts\n")
    reader = Log(log, "time", "watts", lambda: 0.0)
    with log.open("a") as file:
        file.write("10,5\n" + lines)
    with pytest.raises(MeterFault, match=said):
        reader.joules()
    with pytest.raises(MeterFault, match="no column power, only: time, watts"):
        Log(log, "time", "power", lambda: 0.0)
