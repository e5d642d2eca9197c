"""Every mutation that ``scripts/mutants.py`` tries, by what it is about."""

from __future__ import annotations

from scripts.mutations import (
    answering,
    committing,
    dispatching,
    following,
    guarding,
    knowing,
    ledger,
    reading,
    reprojecting,
    sending,
    serving,
    validating,
    writing,
)

MUTANTS = (
    *reading.MUTANTS,
    *knowing.MUTANTS,
    *reprojecting.MUTANTS,
    *committing.MUTANTS,
    *guarding.MUTANTS,
    *following.MUTANTS,
    *answering.MUTANTS,
    *ledger.MUTANTS,
    *validating.MUTANTS,
    *writing.MUTANTS,
    *dispatching.MUTANTS,
    *sending.MUTANTS,
    *serving.MUTANTS,
)
