"""Benchmarks: the main paths, each beside what MongoDB, a plain reader or dlt does with the same data.

    make bench-quick             # about two minutes, as a smoke test
    make bench                   # one secondary school with a year of marks, and growth to 2,000,000 marks

Ratios count, for machines differ. Each is the ratio of the medians of interleaved runs of both sides, whose
answers are checked. ``bench/results.json`` has the figures, ``docs/performance.md`` shows and explains them.
"""
