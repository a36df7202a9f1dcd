"""`python -m medslip_jax.cli VERB ...`."""

import sys

from medslip_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
