"""CloudWatch Logs: groups, streams, events, and their search."""

from . import events, groups, search, streams, tags  # noqa: F401
