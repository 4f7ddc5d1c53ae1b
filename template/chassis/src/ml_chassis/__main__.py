"""`python -m ml_chassis` is `chassis`."""

from .cli import main

main()
