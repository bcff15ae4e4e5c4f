"""Does an operation cost the same in a small tree and a large one, with few sessions and with many? And what do a
million znodes and ten thousand sessions cost?

    python -m bench.scale                      # up to 1,000,000 znodes and 10,000 sessions: some minutes
    python -m bench.scale --quick              # up to 100,000 and 1,000
    python -m bench.scale --svg docs/scale.svg # the curves as a picture, too

Ours alone: the question is the shape. The processor time of the server per operation is printed beside the rate, since
other work on the machine disturbs it least. Reads and writes go to znodes all over the tree.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import log10
from pathlib import Path

from bench import load
from coordination.testing import server as testing
from coordination.testing.server import Server

VALUE_BYTES = 100
PER_DIRECTORY = 1000
FILL_WINDOW = 500
PATHS_IN_CYCLE = 20
CLIENTS, WINDOW = 10, 20
PING_EVERY = 1000  # new sessions
NEVER = 10**9


@dataclass(frozen=True)
class Point:
    """One measurement: `size` znodes or sessions, operations a second, processor time of the server for each."""

    size: int
    per_second: float
    cpu_us: float


@dataclass
class Report:
    load_average: float
    curves: dict[str, list[Point]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)


def path_of(number: int) -> str:
    return f"/scale/{number // PER_DIRECTORY:04}/{number % PER_DIRECTORY:04}"


def fill(port: int, begin: int, end: int) -> float:
    """Create these znodes; gives seconds."""
    client = load.Client(port, 120.0)
    began = time.perf_counter()
    if begin == 0:
        client.ensure("/scale", b"")
    bodies: list[bytes] = []
    for number in range(begin, end):
        if number % PER_DIRECTORY == 0:
            bodies.append(load.create_body(f"/scale/{number // PER_DIRECTORY:04}"))
        bodies.append(load.create_body(path_of(number), b"v" * VALUE_BYTES))
    for at in range(0, len(bodies), FILL_WINDOW):
        chunk = bodies[at : at + FILL_WINDOW]
        client.sock.sendall(b"".join(load.frame(1, load.CREATE, body) for body in chunk))
        for _ in chunk:
            reply = client._frame()
            if reply[12:16] != b"\0\0\0\0":
                raise load.Failed(f"a create failed: {reply.hex()}")
    took = time.perf_counter() - began
    client.close()
    return took


def workload(kind: str, znodes: int) -> load.Workload:
    """Reads or writes of some znodes anywhere in the tree."""
    chosen = random.Random(znodes).choices(range(znodes), k=PATHS_IN_CYCLE)
    if kind == "get":
        frames = [load.frame(1, load.GET_DATA, load.get_body(path_of(each))) for each in chosen]
        reply = load.REPLY_HEADER_BYTES + 4 + VALUE_BYTES + load.STAT_BYTES
    else:
        frames = [load.frame(1, load.SET_DATA, load.set_body(path_of(each), b"w" * VALUE_BYTES)) for each in chosen]
        reply = load.REPLY_HEADER_BYTES + load.STAT_BYTES
    return load.Workload(kind, tuple(frames), (reply,) * len(frames))


def measure(server: Server, kind: str, znodes: int, size: int, seconds: float) -> Point:
    """The best of three: what disturbs only makes it slower."""
    points = []
    for _ in range(3):
        used_s = load.cpu_s(server.pid)
        rate = load.run(server.port, workload(kind, znodes), CLIENTS, WINDOW, seconds)
        used_s = load.cpu_s(server.pid) - used_s
        # The generator's first lap, which looks at every answer, was work too.
        done = rate.per_second * seconds + CLIENTS * PATHS_IN_CYCLE
        points.append(Point(size, rate.per_second, used_s * 1e6 / done))
    return min(points, key=lambda point: point.cpu_us)


def sizes_up_to(most: int) -> list[int]:
    return [size for size in (1, 100, 10_000, 100_000, 300_000, 1_000_000) if size < most] + [most]


def tree_curves(server: Server, most: int, seconds: float, report: Report, say: Callable[[str], None]) -> None:
    fresh = load.rss_mib(server.pid)
    held = 0
    for size in sizes_up_to(most):
        used_s = load.cpu_s(server.pid)
        took = fill(server.port, held, size)
        used_s = load.cpu_s(server.pid) - used_s
        made, held = size - held, size
        if made >= 1000:
            report.curves.setdefault("create", []).append(Point(size, made / took, used_s * 1e6 / made))
        for kind in ("get", "set"):
            point = measure(server, kind, size, size, seconds)
            report.curves.setdefault(kind, []).append(point)
            say(f"{kind:<8}{size:>10,} znodes   {point.per_second:>10,.0f}/s {point.cpu_us:>8.1f} us cpu each")
    report.figures["bytes per znode"] = (load.rss_mib(server.pid) - fresh) * (1 << 20) / most


def session_curves(
    server: Server, most: int, znodes: int, seconds: float, report: Report, say: Callable[[str], None]
) -> None:
    before = load.rss_mib(server.pid)
    idle: list[load.Client] = []
    try:
        for size in [size for size in (1, 100, 1000, 3000) if size < most] + [most]:
            while len(idle) < size:
                idle.append(load.Client(server.port))
                if len(idle) % PING_EVERY == 0:
                    ping(idle)
            for kind in ("get", "set"):
                point = measure(server, kind, znodes, size, seconds)
                report.curves.setdefault(f"{kind} beside sessions", []).append(point)
                say(f"{kind:<8}{size:>10,} sessions {point.per_second:>10,.0f}/s {point.cpu_us:>8.1f} us cpu each")
            ping(idle)
        report.figures["MiB for the idle sessions"] = load.rss_mib(server.pid) - before
    finally:
        for client in idle:
            client.sock.close()


def ping(clients: list[load.Client]) -> None:
    """Idle sessions live by it."""
    for client in clients:
        client.sock.sendall(load.frame(-2, load.PING, b""))
    for client in clients:
        client._frame()


def pauses(server: Server, until: Callable[[], bool]) -> Iterator[float]:
    """Blocking reads one after the other, ms each, until something is so."""
    client = load.Client(server.port)
    asked = load.frame(1, load.GET_DATA, load.get_body(path_of(0)))
    count = 0
    while count % 100 or not until():
        begin = time.perf_counter()
        client.sock.sendall(asked)
        client._frame()
        yield (time.perf_counter() - begin) * 1000
        count += 1
    client.close()


def lines(server: Server, event: str) -> list[dict[str, object]]:
    said = (line for line in server.output.read_text().splitlines() if f'"{event}"' in line)
    return [json.loads(line) for line in said]


def start_s(server: Server) -> float:
    begin = time.perf_counter()
    server.serve()
    return time.perf_counter() - begin


def restarts(directory: Path, seconds: float, report: Report) -> None:
    """Replay the log; write a snapshot while serving; load it."""
    (directory / "often.cfg").write_text("maxClientCnxns=0\nsnapCount=1000\n")
    server = Server(directory / "data", directory / "often.out", ["--config", str(directory / "often.cfg")])
    report.figures["s to start from the log alone"] = start_s(server)
    try:
        during = sorted(pauses(server, lambda: bool(lines(server, "snapshot_written"))))
        end = time.perf_counter() + 5 * seconds
        beside = sorted(pauses(server, lambda: time.perf_counter() > end))
        for name, took in (("while a snapshot is written", during), ("without", beside)):
            report.figures[f"ms of a blocking get {name}: p99"] = load.percentile(took, 99)
            report.figures[f"ms of a blocking get {name}: longest"] = took[-1]
        (written,) = lines(server, "snapshot_written")
        report.figures["s to write the snapshot"] = float(str(written["took_ms"])) / 1000
    finally:
        server.stop()
    report.figures["s to start from the snapshot"] = start_s(server)
    try:
        report.figures["MiB after loading"] = load.rss_mib(server.pid)
    finally:
        server.stop()


def run(znodes: int, sessions: int, seconds: float, say: Callable[[str], None]) -> Report:
    report = Report(load.load_average())
    testing.READY_TIMEOUT_S = 300.0
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as scratch, ExitStack() as stack:
        directory = Path(scratch)
        (directory / "never.cfg").write_text(f"maxClientCnxns=0\nsnapCount={NEVER}\n")
        server = Server(directory / "data", directory / "never.out", ["--config", str(directory / "never.cfg")])
        stack.callback(server.stop)
        server.serve()
        say(f"load average {report.load_average:.2f}")
        tree_curves(server, znodes, seconds, report, say)
        session_curves(server, sessions, znodes, seconds, report, say)
        server.stop()
        restarts(directory, seconds, report)
    for name, figure in report.figures.items():
        say(f"{name:<56}{figure:>10,.1f}")
    return report


# --- the picture

_PANEL_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _RIGHT = 420, 300, 48, 40, 44, 56
_COLOURS = {"get": "#1565c0", "set": "#c62828", "create": "#2e7d32"}


def svg(report: Report) -> str:
    """Processor time per operation over the size, sizes in powers of ten: one panel for znodes, one for sessions."""
    panels: dict[str, dict[str, list[Point]]] = {"znodes": {}, "sessions": {}}
    for name, points in report.curves.items():
        operation, _, beside = name.partition(" beside ")
        panels[beside or "znodes"][operation] = points
    most_us = max(point.cpu_us for points in report.curves.values() for point in points) * 1.1
    step_us = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500) if most_us / step <= 7)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _PANEL_WIDTH} {_HEIGHT}" font-size="12">',
        "<style>text {font-family: sans-serif}</style>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">Processor time of the server per operation, us</text>',
    ]
    for at, (size_of, curves) in enumerate(panels.items()):
        parts += [
            f'<g transform="translate({at * _PANEL_WIDTH} 0)">',
            *_panel(size_of, curves, most_us, step_us),
            "</g>",
        ]
    return "\n".join([*parts, "</svg>", ""])


def _panel(size_of: str, curves: dict[str, list[Point]], most_us: float, step_us: int) -> Iterator[str]:
    decades = max((len(str(point.size)) for points in curves.values() for point in points), default=2) - 1
    right, floor = _PANEL_WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(size: int) -> float:
        return _LEFT + (right - _LEFT) * log10(size) / max(decades, 1)

    def y(cpu_us: float) -> float:
        return _TOP + (floor - _TOP) * (1 - cpu_us / most_us)

    for decade in range(decades + 1):
        at = x(10**decade)
        yield f'<line x1="{at:.0f}" x2="{at:.0f}" y1="{_TOP}" y2="{floor}" stroke="#ddd"/>'
        yield f'<text x="{at:.0f}" y="{floor + 16}" text-anchor="middle">{_short(10**decade)}</text>'
    yield f'<text x="{(_LEFT + right) / 2:.0f}" y="{floor + 36}" text-anchor="middle">{size_of}</text>'
    for at_us in range(0, int(most_us) + 1, step_us):
        yield f'<line x1="{_LEFT}" x2="{right}" y1="{y(at_us):.0f}" y2="{y(at_us):.0f}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{y(at_us) + 4:.0f}" text-anchor="end">{at_us}</text>'
    for operation, points in curves.items():
        colour = _COLOURS[operation]
        places = [(x(point.size), y(point.cpu_us)) for point in points]
        line = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3" fill="{colour}"/>' for across, down in places)
        across, down = places[-1]
        yield f'<text x="{across + 8:.0f}" y="{down + 4:.0f}" fill="{colour}">{operation}</text>'


def _short(size: int) -> str:
    if size >= 1_000_000:
        return f"{size // 1_000_000}M"
    return f"{size // 1000}k" if size >= 1000 else str(size)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--znodes", type=int, default=1_000_000)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--svg", type=Path, help="draw the curves into this file")
    options = parser.parse_args(argv)
    znodes, sessions = options.znodes, options.sessions
    if options.quick:
        znodes, sessions = znodes // 10, sessions // 10
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < sessions + 100:
        sessions = hard - 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, sessions + 100)), hard))
    report = run(znodes, sessions, options.seconds, lambda text: print(text, flush=True))
    if options.svg is not None:
        options.svg.write_text(svg(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
