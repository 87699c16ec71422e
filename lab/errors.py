"""The one exception that a person is meant to read."""


class LabError(Exception):
    """Something is wrong that the message explains, with what to do about it; shown without a traceback."""
