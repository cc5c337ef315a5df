"""Work is dealt out to threads of torch or of a pool, and comes to an end whatever happens."""

import gc
import itertools
import threading
import time
import weakref

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports.torch import threads as dealt  # noqa: E402
from lion_ports.torch.threads import in_blocks  # noqa: E402


@pytest.fixture
def no_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_every_block_is_worked_on_once_by_as_many_threads_as_torch_has(threads, whose):
    threads(3)
    seen, names = [], set()
    together = threading.Barrier(3, timeout=60)

    def work(first, last):
        if threading.current_thread().name not in names:
            names.add(threading.current_thread().name)
            together.wait()
        seen.append((first, last))

    in_blocks(work, 10_000_019)
    seen.sort()
    assert len(names) == 3
    assert any(name.startswith("lion") for name in names) == (whose == "of a pool")
    assert (seen[0][0], seen[-1][1]) == (0, 10_000_019)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(seen))


def test_an_error_in_another_thread_is_raised_in_this_one(threads, whose):
    threads(2)
    here = threading.current_thread()
    failed = threading.Event()

    def work(first, last):
        if threading.current_thread() is here:
            assert failed.wait(60)
        else:
            failed.set()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_blocks(work, 1_000_000)


def test_an_error_in_this_thread_waits_for_the_others(threads, whose):
    """What they write to may be let go of afterwards, as when Ctrl-C ends a step."""
    threads(2)
    here, done = threading.current_thread(), []
    begun, failing = threading.Event(), threading.Event()

    def work(first, last):
        if threading.current_thread() is here:
            assert begun.wait(60)
            failing.set()
            raise KeyboardInterrupt
        begun.set()
        assert failing.wait(60)
        time.sleep(0.05)
        done.append(last)

    with pytest.raises(KeyboardInterrupt):
        in_blocks(work, 1_000_000)
    assert done[-1] == 1_000_000


def test_a_team_has_all_threads_of_torch_or_is_not_asked(threads, monkeypatch):
    """GNU's OpenMP ends those that are left out, and torch would have to start them again."""
    threads(3)
    teams = []
    team = (lambda body, argument, threads: teams.append(threads)), lambda: None
    monkeypatch.setattr(dealt, "_team", lambda: team)
    for elements in (dealt.GRAIN, 2 * dealt.GRAIN, 9 * dealt.GRAIN):
        in_blocks(lambda first, last: None, elements)
    assert teams == [3, 3]


KEYS = """
import os, signal, sys, threading, time, torch
from lion_ports.torch import threads

torch.set_num_threads(3)
working, ended = 0, time.monotonic() + 2

def press():
    while time.monotonic() < ended:
        time.sleep(0.003)
        os.kill(os.getpid(), signal.SIGINT)

def work(first, last):
    global working
    working += 1
    try:
        end = time.monotonic() + 0.004
        while time.monotonic() < end:
            time.sleep(0.0005)
    finally:
        working -= 1

sys.unraisablehook = lambda args: os._exit(3)  # an exception that ctypes cannot raise
keys = threading.Thread(target=press)
interrupted = 0
try:
    keys.start()
except KeyboardInterrupt:
    pass
while keys.is_alive():
    try:
        threads.in_blocks(work, 10_000_000)
    except KeyboardInterrupt:
        interrupted += 1
        if working:
            os._exit(4)
os._exit(0 if interrupted > 5 else 5)
"""


@pytest.mark.skipif(dealt._team() is None, reason="needs the OpenMP of GNU or LLVM, on Linux")
def test_keys_end_a_step_when_no_thread_of_a_team_is_at_work(worker, tmp_path):
    (tmp_path / "keys.py").write_text(KEYS, encoding="utf-8")
    worker(tmp_path / "keys.py", tmp_path)


def test_a_pool_is_waited_for_though_a_key_is_pressed_twice(threads, monkeypatch):
    threads(2)
    here, begun, done = threading.current_thread(), threading.Event(), []

    def work(first, last):
        if threading.current_thread() is here:
            assert begun.wait(60)
            raise KeyboardInterrupt
        begun.set()
        time.sleep(0.05)
        done.append(last)

    waits = []

    def wait(futures, real=dealt.wait):
        waits.append(len(futures))
        if len(waits) == 1:
            raise KeyboardInterrupt
        real(futures)

    monkeypatch.setattr(dealt, "_team", lambda: None)
    monkeypatch.setattr(dealt, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        in_blocks(work, 1_000_000)
    assert waits == [1, 1]
    assert done[-1] == 1_000_000


@pytest.mark.usefixtures("no_collection")
def test_what_was_worked_on_is_let_go_of_after_an_error(threads, whose):
    threads(2)

    class Work:
        def __call__(self, first, last):
            raise ValueError("broken")

    work = Work()
    alive = weakref.ref(work)
    with pytest.raises(ValueError, match="broken"):
        in_blocks(work, 1_000_000)
    del work
    end = time.monotonic() + 60
    while alive() is not None:  # a thread of the pool lets go of what it was told to leave out
        assert time.monotonic() < end
        time.sleep(0.001)
