"""Waiting for what another thread, process or browser does: one way for all tests.

A busy machine gets a long time. What does not come is reported together with what was seen instead.
"""

import contextlib
import time

LIMIT = 900  # seconds: slow and busy machines get there, what hangs does not
BEGIN = 60  # seconds for something to begin, before it is asked for again


class TooLong(AssertionError):
    """What was waited for, how long, and what was there instead."""


def wait_until(done, what, seen, limit=LIMIT, pause=time.sleep):
    """Return the first true value of done(). After limit seconds fail with what seen() returns."""
    deadline = time.monotonic() + limit
    while not (result := done()):
        if time.monotonic() > deadline:
            raise TooLong(f"waited {limit:.0f} s until {what}; seen instead: {seen()}")
        pause(0.1)
    return result


def begin(ask, begun, what, seen, tries=5, limit=BEGIN, pause=time.sleep):
    """Ask for something until it has begun: a click may get lost. Return how often it was asked."""
    for number in range(1, tries + 1):
        ask()
        with contextlib.suppress(TooLong) if number < tries else contextlib.nullcontext():
            wait_until(begun, f"{what}, asked for {number} times", seen, limit, pause)
            return number


def wait_for_process(process, done, what, seen=lambda: ""):
    """Wait until done() while a process runs. A process that has ended fails at once."""

    def done_or_ended():
        assert process.poll() is None, f"{what}: it ended with {process.returncode}; {seen()}"
        return done()

    try:
        return wait_until(done_or_ended, what, seen)
    except TooLong:
        process.kill()
        raise
