"""One module for each TabbyAPI service: functions that build calls, and two thin classes.

May import _streaming/, _protocol/, types/ and errors.py.
"""
