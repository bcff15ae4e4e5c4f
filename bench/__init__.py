"""Measurements of what the README promises. Each script's docstring has the exact command; `python -m bench` runs all
of them.

Not tests: nothing here passes or fails by a clock. `tests/bench` only checks that each script still runs.
"""
