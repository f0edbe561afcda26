"""One module for each TabbyAPI service: functions that build calls, and two thin classes.

May import protocol/, transport/, types/ and errors.py.
"""
