"""Collect the tests of the supervisor once there is one."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("trioworkers._supervisor") else ["test_against_otp.py"]
