"""What holds for every test."""

from hypothesis import settings

# No test fails because a machine was slow.
settings.register_profile("penstock", deadline=None)
settings.load_profile("penstock")
