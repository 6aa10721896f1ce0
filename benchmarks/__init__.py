"""Measurements of trioworkers. Start with `core.py`."""
