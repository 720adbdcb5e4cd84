"""`python -m federant.cli` is the command `federant`."""

from federant.cli import main

main()
