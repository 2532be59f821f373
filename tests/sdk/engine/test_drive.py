"""Both drivers perform every effect alike: one life, lived in a thread and in a loop, ends the same."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from penstock.engine import effects
from penstock.engine.drive import drive, drive_generator, drive_to_turn
from penstock.engine.drive import perform as perform_in_thread
from penstock.engine.drive_async import (
    drive_apart,
    drive_as_main,
    drive_async,
    drive_async_generator,
    drive_in_thread,
)
from penstock.engine.drive_async import perform as perform_in_loop
from penstock.engine.effects import (
    Acquire,
    Advance,
    Blocking,
    Call,
    Callback,
    ConsumerClosed,
    Drain,
    Effect,
    Emit,
    Sleep,
    Turn,
    Wait,
)
from penstock.errors import TaskRunTimedOut
from penstock.locking.memory import MemoryLockManager
from penstock.waiting import Once

Life = Generator[Effect, Any, Any]

# Both ways to live a life to its end.
DRIVERS: dict[str, Callable[[Life], Any]] = {
    "thread": drive,
    "loop": lambda life: asyncio.run(drive_async(life)),
    "loop of its own": lambda life: drive_as_main(life, lambda error: None),
    "loop of a worker thread": lambda life: drive_in_thread(life, contextvars.copy_context()),
}
both = pytest.mark.parametrize("live", DRIVERS.values(), ids=DRIVERS)


class Runner:
    """A task runner that remembers how it was drained."""

    def __init__(self) -> None:
        self.drained: list[tuple[bool, float | None]] = []

    def drain(self, *, abandon: bool = False, grace: float | None = None) -> str:
        self.drained.append((abandon, grace))
        return "drained"


class Future:
    """A future that is done once somebody waits for it."""

    waited = False

    def wait(self) -> None:
        self.waited = True

    async def wait_async(self) -> None:
        self.waited = True


async def later(x: int) -> int:
    await asyncio.sleep(0)
    return x


def numbers() -> Generator[int, int, str]:
    got = yield 1
    yield got
    return "end"


@both
def test_every_effect_is_answered_alike(live: Callable[[Life], Any]) -> None:
    runner, futures, producer = Runner(), [Future(), Future()], numbers()
    locks = MemoryLockManager()

    def life() -> Life:
        answers = [
            (yield Call(lambda x, y: x + y, (1,), {"y": 2})),
            (yield Callback(lambda x: x, (3,))),
            (yield Callback(later, (4,))),
            (yield Sleep(0)),
            (yield Wait(futures)),  # type: ignore[arg-type]
            (yield Advance(producer)),
            (yield Advance(producer, 5)),
            (yield Advance(producer)),
            (yield Drain(runner, abandon=True, grace=2.0)),  # type: ignore[arg-type]
            (yield Blocking(divmod, (7, 2))),
            (yield Acquire(locks, repr(live), "me")),
        ]
        return answers

    assert live(life()) == [3, 3, 4, None, None, (False, 1), (False, 5), (True, "end"), "drained", (3, 1), True]
    assert locks.is_lock_holder(repr(live), "me")
    assert all(future.waited for future in futures)
    assert runner.drained == [(True, 2.0)]


def raising(error: BaseException) -> Life:
    """A life whose callback raises, and which goes on all the same."""

    def fail() -> None:
        raise error

    try:
        yield Callback(fail, ())
    except BaseException as raised:
        again = yield Callback(lambda: "went on", ())
        return type(raised), again
    return None


@both
def test_errors_are_thrown_into_the_life(live: Callable[[Life], Any]) -> None:
    """Whoever lives decides what they mean."""
    assert live(raising(ValueError("x"))) == (ValueError, "went on")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=lambda error: type(error).__name__)
def test_so_are_interrupts_and_exits_in_a_thread(error: BaseException) -> None:
    """In a loop they end the loop, and come back as a cancellation: `TestInterrupts`."""
    assert drive(raising(error)) == (type(error), "went on")


@both
def test_what_a_life_raises_reaches_whoever_drives(live: Callable[[Life], Any]) -> None:
    def life() -> Life:
        yield Sleep(0)
        raise KeyError("k")

    with pytest.raises(KeyError, match="k"):
        live(life())


@both
def test_a_call_may_have_a_deadline(live: Callable[[Life], Any]) -> None:
    """Quick code is not touched by it; slow code is ended with the life's own error."""
    error = TaskRunTimedOut("too long")

    def spin() -> None:
        while True:
            pass

    async def rest() -> None:
        await asyncio.sleep(60)

    slow = spin if live is drive else rest

    def life() -> Life:
        quick = yield Call(lambda: 1, (), {}, 60.0, error)
        try:
            yield Call(slow, (), {}, 0.05, error)
        except TaskRunTimedOut as raised:
            return quick, raised
        return None

    assert live(life()) == (1, error)


@pytest.mark.parametrize("perform", [perform_in_thread, perform_in_loop])
def test_an_effect_that_nobody_knows_is_an_error(perform: Callable[..., Any]) -> None:
    async def performed() -> Any:
        done = perform(Effect())
        return await done if inspect.isawaitable(done) else done

    with pytest.raises(TypeError, match="driver does not know"):
        asyncio.run(performed())


def test_every_effect_is_tried_here() -> None:
    """A new word of the lives' needs a line above."""
    words = {name for name, kind in vars(effects).items() if isinstance(kind, type) and issubclass(kind, Effect)}
    assert words == {
        *("Effect", "Call", "Callback", "Advance", "Emit", "Sleep", "Wait", "Turn", "Drain", "Blocking", "Acquire")
    }


def test_calls_may_be_made_elsewhere() -> None:
    """The thread driver gives calls, and nothing else, to whoever performs them."""
    elsewhere: list[Call] = []

    def call(effect: Call) -> str:
        elsewhere.append(effect)
        return "elsewhere"

    def life() -> Life:
        return (yield Call(len, ("x",), {})), (yield Callback(len, ("x",)))

    assert drive(life(), call) == ("elsewhere", 1)
    assert [effect.fn for effect in elsewhere] == [len]


def emitting() -> Life:
    """A life that hands out what it is sent, until it is closed."""
    told: list[Any] = []
    try:
        while len(told) < 3:
            told.append((yield Emit(len(told))))
    except ConsumerClosed:
        yield Callback(CLOSED.append, ("closed",))
    return told


CLOSED: list[str] = []


class TestGenerators:
    """Lives of generators hand their values on, and hear what is sent and that nobody listens any more."""

    @pytest.fixture(autouse=True)
    def none_closed(self) -> None:
        CLOSED.clear()

    def test_in_a_thread(self) -> None:
        life = drive_generator(emitting())
        assert [next(life), life.send("a"), life.send("b")] == [0, 1, 2]
        with pytest.raises(StopIteration) as end:
            life.send("c")
        assert end.value.value == ["a", "b", "c"]

    def test_in_a_loop(self) -> None:
        ends: list[Any] = []

        async def consume() -> list[Any]:
            life = drive_async_generator(emitting(), ends.append)
            return [await anext(life), await life.asend("a"), await life.asend("b"), await anext(life, "over")]

        assert asyncio.run(consume()) == [0, 1, 2, "over"]
        assert ends == [["a", "b", None]]

    def test_closed_in_a_thread(self) -> None:
        life = drive_generator(emitting())
        next(life)
        life.close()
        assert CLOSED == ["closed"]

    def test_closed_in_a_loop(self) -> None:
        ends: list[Any] = []

        async def consume() -> None:
            life = drive_async_generator(emitting(), ends.append)
            await anext(life)
            await life.aclose()

        asyncio.run(consume())
        assert (CLOSED, ends) == (["closed"], [])

    @pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
    def test_an_error_of_the_consumers_is_the_lifes(self, loop: bool) -> None:
        def life() -> Life:
            try:
                yield Emit(1)
            except ValueError as error:
                return f"heard {error}"
            return None

        ends: list[Any] = []
        if loop:

            async def consume() -> None:
                values = drive_async_generator(life(), ends.append)
                await anext(values)
                with pytest.raises(StopAsyncIteration):
                    await values.athrow(ValueError("x"))

            asyncio.run(consume())
        else:
            values = drive_generator(life())
            next(values)
            with pytest.raises(StopIteration) as end:
                values.throw(ValueError("x"))
            ends.append(end.value.value)
        assert ends == ["heard x"]


class TestInterrupts:
    """A signal handler raises out of the loop: the life hears of it as a cancellation, and has the last word."""

    def test_the_life_ends_in_its_own_way(self) -> None:
        heard: list[BaseException] = []

        async def interrupted() -> None:
            asyncio.get_running_loop().call_soon(self.raising)
            await asyncio.sleep(60)

        def life() -> Life:
            try:
                yield Call(interrupted, (), {})
            except asyncio.CancelledError:
                return "cancelled", (yield Callback(lambda: "tidied up", ()))
            return None

        assert drive_as_main(life(), heard.append) == ("cancelled", "tidied up")
        assert [type(error) for error in heard] == [KeyboardInterrupt]

    @staticmethod
    def raising() -> None:
        raise KeyboardInterrupt  # as a signal handler would, between two steps of the loop

    def test_after_its_end_an_error_is_nobodys_to_hear(self) -> None:
        heard: list[BaseException] = []

        def life() -> Life:
            yield Sleep(0)
            raise ValueError("the engine's own fault")

        with pytest.raises(ValueError, match="own fault"):
            drive_as_main(life(), heard.append)
        assert heard == []


def test_where_a_loop_runs_already_a_thread_is_taken() -> None:
    """As in a notebook. Context variables come along."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    def life() -> Life:
        return (yield Call(later, (1,), {})), variable.get()

    async def main() -> Any:
        variable.set("mine")
        return drive_apart(life(), lambda error: None)

    assert asyncio.run(main()) == (1, "mine")
    variable.set("here")
    assert drive_apart(life(), lambda error: None) == (1, "here")


# Ways to live a life up to a turn that has not come, and on from there.
TO_TURN: dict[str, Callable[[Life], Any]] = {
    "thread": drive_to_turn,
    "loop of a worker thread": lambda life: drive_in_thread(life, contextvars.copy_context()),
}


@pytest.mark.parametrize("live", TO_TURN.values(), ids=TO_TURN)
def test_a_life_is_left_where_its_turn_has_not_come_and_goes_on_from_there(live: Callable[[Life], Any]) -> None:
    once, there = Once(), Once()
    there.happen()

    def life() -> Life:
        yield Turn(there)
        before = yield Call(lambda: "before", (), {})
        yield Turn(once)
        after = yield Call(lambda: "after", (), {})
        return [before, after, once.happened()]

    lived = life()
    left = live(lived)
    assert isinstance(left, Turn)
    assert left.once is once
    once.happen()
    assert live(lived) == ["before", "after", True]


@pytest.mark.parametrize("live", [live for name, live in DRIVERS.items() if name != "loop of a worker thread"])
def test_who_lives_a_life_to_its_end_waits_for_its_turn(live: Callable[[Life], Any]) -> None:
    once = Once()

    def life() -> Life:
        yield Turn(once)
        return once.happened()

    timer = threading.Timer(0.05, once.happen)
    timer.start()
    assert live(life()) is True
    timer.join()
