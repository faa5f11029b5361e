"""A run in which servers, workers and database connections are killed and frozen while jobs go through, and its judge.

`python -m benchmarks.reliability --help` has the options; `python -m benchmarks.reliability.mutants` checks the checks.
"""
