"""The one place of the version."""

__version__ = "0.1.0"

USER_AGENT = f"quartet-client-python/{__version__}"
