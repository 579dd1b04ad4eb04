"""`python -m scoter.cli`."""

from scoter.cli.main import main

main()
