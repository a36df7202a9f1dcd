"""`python -m medslip_jax.cli VERB ...`."""

import sys

from medslip_jax.cli.main import main

sys.exit(main())
