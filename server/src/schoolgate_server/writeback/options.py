"""How writing back behaves, with a unit and a reason for each value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Options of all writes of one server."""

    environment: str = "production"
    """Whose policies hold here: a copy of the database elsewhere has another name, and writes nothing."""

    # --- accepting
    expires_after: timedelta = timedelta(hours=24)
    """How long a write may wait unless its caller says otherwise: nothing old leaves by surprise."""
    longest_expiry: timedelta = timedelta(days=30)
    """How long a caller may let it wait at most."""

    # --- looking for work
    interval: timedelta = timedelta(seconds=0.5)
    """Between two looks for what is due, one indexed query each; accepted ones begin at once."""
    schools: int = 16
    """Schools at work at once on one server; the others take turns."""
    turn: timedelta = timedelta(seconds=10)
    """How long a school may keep its place while others wait: a thousand of its writes hold nobody up."""
    linger: timedelta = timedelta(seconds=5)
    """How long a school keeps its session when nothing is due, if nobody waits: one may be a login."""
    concurrency: int = 4
    """Writes of a school on their way at once; those about the same thing go one after the other."""
    lease_ttl: timedelta = timedelta(seconds=15)
    """How long a school's writes stay with a server that no longer answers; renewed every third of it."""

    # --- sending
    attempt: timedelta = timedelta(seconds=60)
    """Longest time for one attempt, the wait for its turn at the MIS included."""
    skew: timedelta = timedelta(seconds=5)
    """How far the clocks of two servers may be apart."""
    settle: timedelta = timedelta(seconds=120)
    """How long after an attempt's limit a request may still take effect that was given up; see ADR 0016."""
    policy_every: timedelta = timedelta(seconds=0.25)
    """Between two looks at the policy while something is being sent."""
    policy_age: timedelta = timedelta(seconds=0.75)
    """How old the policy may be when a write leaves, so that the kill switch acts within a second (G19)."""
    retry_first: timedelta = timedelta(seconds=1)
    """Pause after an attempt that had no effect; it doubles."""
    retry_longest: timedelta = timedelta(minutes=5)
    """What that doubles to."""
    refused_first: timedelta = timedelta(minutes=1)
    """The same where a person has to mend something first, such as credentials or a grant."""
    refused_longest: timedelta = timedelta(minutes=30)
    """What that doubles to."""
    unknown_attempts: int = 8
    """Attempts of unknown outcome under a MIS's own key, after which a person is asked."""
    save_again: timedelta = timedelta(seconds=0.5)
    """Between two tries to store what an attempt came to."""
    save_for: timedelta = timedelta(minutes=3)
    """How long that is tried; afterwards whoever owns the school has settled it as unknown."""
    stop_grace: timedelta = timedelta(seconds=5)
    """How long a server that stops waits for the answers to what has left."""

    # --- finding out what became of it
    look_first: timedelta = timedelta(seconds=1)
    """Until the first look in the MIS, or in the canonical copy; it doubles."""
    look_longest: timedelta = timedelta(minutes=5)
    """What that doubles to."""
    find_limit: timedelta = timedelta(seconds=60)
    """Longest wait for a connector's answer about one write."""
    doubtful_looks: int = 4
    """Looks that told nothing for certain, after which a person is asked."""
    missing: timedelta = timedelta(hours=1)
    """How long after it has settled the MIS may not show what it said that it took."""
    give_up: timedelta = timedelta(hours=24)
    """How long an outcome is looked for before a person is asked."""
    reread_every: int = 4
    """Looks at the canonical copy per re-read that is asked for: one may fail, or be overtaken."""
    blocked_longest: timedelta = timedelta(seconds=60)
    """Longest pause between two looks whether it is a write's turn; where this server ends the one before, it
    goes on at once."""

    # --- confirmed writes
    follow_every: timedelta = timedelta(seconds=30)
    """Between two looks for what the MIS says of confirmed writes by now."""
    follow_page: int = 500
    """Records per read of the change feed."""

    # --- sessions
    page_timeout: timedelta = timedelta(seconds=60)
    """Longest wait for a session to open."""
    close_timeout: timedelta = timedelta(seconds=10)
    """Longest wait for a session to close."""

    # --- watching
    watch_every: timedelta = timedelta(seconds=0.25)
    """Between two looks for changes that other servers made."""
    watch_overlap: timedelta = timedelta(seconds=10)
    """How much is read again: clocks differ, and a change is seen after it is dated."""
    watch_page: int = 200
    """Writes per read."""


def backoff(first: timedelta, longest: timedelta, tries: int) -> timedelta:
    """Return the pause after ``tries`` in vain, from ``first`` on, doubled each time up to ``longest``."""
    doubled: int = 2 ** min(max(tries - 1, 0), 30)
    return min(longest, first * doubled)
