"""`python -m federant` is the command `federant`."""

from federant.cli import main

main()
