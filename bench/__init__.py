"""Benchmarks: the main paths, each beside what MongoDB or a plain reader does with the same data.

    python -m bench --quick      # under two minutes
    python -m bench              # one secondary school with a year of marks

Ratios count, for machines differ. Each is the ratio of the medians of interleaved runs of both sides, whose
answers are checked. ``bench/results.json`` has the figures.
"""
