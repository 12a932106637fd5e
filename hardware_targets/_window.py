"""One model's turn at the counter.

A window begins and ends with a tick of the counter and lasts at least `window_s`. Its watts are between the ticks; its
seconds per inference are of whole passes over the inputs, so that every window holds the same mixture of them. Their
product is joules per inference. The model runs all the while: neither waiting for a tick nor the sensor's own lag lets
idle power in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hardware_targets._counters import MeterFault
from hardware_targets._roles import Counter, Reader

Run = Callable[[int], object]
Clock = Callable[[], float]  # seconds, monotonic
Watch = Callable[[], Callable[[], str | None]]  # called when a window begins; what it gives, when the window ends


@dataclass(frozen=True)
class EnergyPlan:
    """How long a session takes, apart from the counter's own `window_s`."""

    quartets: int = 3
    attempts: int = 5  # quartets at most, the void ones included
    idle_windows: int = 3
    idle_s: float = 20.0  # at most, and not more than four windows
    lead_s: float = 0.2  # at least this long, and three ticks, and the sensor's lag, a model runs before its window
    look_s: float = 2.0  # at most, for the tick
    apart: float = 3.0  # standard deviations between idle and full load
    # What load adds to the idle power at least. A counter of constant power shows up to 0.06 % in windows of 0.1 s, for
    # reading counter and clock takes a moment longer under load; at a busy hour it has shown more than 0.1 %.
    response: float = 5e-3

    def seconds(self, counter: Counter, *, qualified: bool) -> float:
        """What a session takes at most on models whose calls are short."""
        lead = max(self.lead_s, 3 * counter.period_s, counter.lag_s)
        windows = 4 * self.attempts * (counter.window_s + lead + 2 * counter.period_s)
        trial = self.look_s + self.idle_windows * (self.rest(counter) + counter.window_s + 2 * lead)
        return windows + (0 if qualified else trial)

    def rest(self, counter: Counter) -> float:
        """Seconds of one idle window."""
        return min(self.idle_s, 4 * counter.window_s)


@dataclass(frozen=True)
class Window:
    """One model's turn; `void` says why it does not count."""

    side: str
    watts: float
    seconds: float  # per inference
    void: str | None = None

    @property
    def joules(self) -> float:
        return self.watts * self.seconds


class Turns:
    """Windows of one counter on one clock; the models run on rows 0 to `inputs` - 1."""

    def __init__(
        self,
        counter: Counter,
        reader: Reader,
        period_s: float,
        clock: Clock,
        plan: EnergyPlan,
        inputs: int,
        watch: Watch,
    ) -> None:
        self._reader, self._clock, self._inputs, self._watch = reader, clock, inputs, watch
        self._period_s, self._window_s, self._rest_s = period_s, counter.window_s, plan.rest(counter)
        self._lead_s = max(plan.lead_s, 3 * period_s, counter.lag_s)

    def try_window(self, side: str, run: Run) -> Window:
        """A window; void where a reading failed."""
        try:
            return self.window(side, run)
        except MeterFault as fault:
            return Window(side, 0.0, 0.0, str(fault))

    def window(self, side: str, run: Run) -> Window:
        """One model's turn. Errors: MeterFault."""
        worker = _Worker(run, self._inputs, self._reader, self._clock)
        worker.until(self._clock() + self._lead_s)
        disturbed = self._watch()
        began, start_j = self._edge(worker)
        seconds = worker.passes(began + self._window_s)
        ended, end_j = self._edge(worker)
        if ended <= began or end_j <= start_j:
            raise MeterFault("the counter stood still while a model ran; choose the meter of the device that runs it")
        return Window(side, (end_j - start_j) / (ended - began), seconds, disturbed())

    def idle_watts(self, wait: Callable[[float], object]) -> float:
        """Mean watts of a process that sleeps. Errors: MeterFault."""
        nap = min(self._reader.poll_s, self._rest_s)
        start, before = self._clock(), self._reader.joules()
        joules = before
        while self._clock() - start < self._rest_s:
            wait(nap)
            joules = self._reader.joules()
        return (joules - before) / (self._clock() - start)

    def _edge(self, worker: _Worker) -> tuple[float, float]:
        """The moment at which the counter next changes, and its joules, while the model runs on."""
        before, limit = self._reader.joules(), self._clock() + max(10 * self._period_s, 1.0)
        while True:
            worker.call()
            joules = self._reader.joules()
            if joules != before:
                return self._clock(), joules
            if self._clock() > limit:
                raise MeterFault(
                    "the counter stood still while a model ran; choose the meter of the device that runs it"
                )


class _Worker:
    """Calls a model on its inputs in turn, and reads the counter as often as it must be."""

    def __init__(self, run: Run, inputs: int, reader: Reader, clock: Clock) -> None:
        self._run, self._inputs, self._reader, self._clock = run, inputs, reader, clock
        self._row, self._read_at = 0, clock()

    def call(self) -> None:
        self._run(self._row)
        self._row = (self._row + 1) % self._inputs
        if self._clock() - self._read_at >= self._reader.poll_s:
            self._reader.joules()
            self._read_at = self._clock()

    def until(self, moment: float) -> None:
        while self._clock() < moment:
            self.call()

    def passes(self, moment: float) -> float:
        """Whole passes over all inputs until `moment` has come; seconds per inference."""
        start, passes = self._clock(), 0
        while passes == 0 or self._clock() < moment:
            for _ in range(self._inputs):
                self.call()
            passes += 1
        return (self._clock() - start) / (passes * self._inputs)
