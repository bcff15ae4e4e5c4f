"""For every room: hypothesis by our rules."""

from hypothesis import HealthCheck, settings

# A loaded machine makes any example slow, and time is nothing these tests are about; a test that hangs has pytest's
# timeout.
settings.register_profile("brokerdemo", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("brokerdemo")
