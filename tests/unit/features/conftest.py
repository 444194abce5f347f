"""Property tests have no deadline of their own: the machine may be busy, and pytest-timeout guards the whole."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
