"""From anybody's table to a project for it: `make adopt`."""

from ..errors import UserError


class AdoptError(UserError):
    """The table, or what was asked of it, cannot make a project."""
