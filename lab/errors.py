"""The exception whose message is for the user."""


class LabError(Exception):
    """Something is wrong that the message explains, with what to do about it; shown without a traceback."""
