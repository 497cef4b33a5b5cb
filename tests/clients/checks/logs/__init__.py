"""CloudWatch Logs: groups, streams, events, and their search."""

from . import events, groups, search, streams, strict, tags  # noqa: F401
