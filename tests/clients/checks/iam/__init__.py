"""IAM: roles, managed policies, instance profiles and their tags."""

from . import policies, profiles, roles, rights, tags  # noqa: F401
