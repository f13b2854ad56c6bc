"""`python -m penstock_operator`."""

from penstock_operator import main

main.main()
