"""`penstock-operator`: the entry point. Everything it is told comes from its environment (docs/operator.md)."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import NoReturn

from penstock.telemetry import logs
from penstock_operator import settings
from penstock_operator.edge import api, service, tokens, watching

_WRONG = 2


def main() -> NoReturn:
    """Exit code 0 after SIGTERM, 1 where a new process may do better, 2 where its settings must be changed first."""
    logs.configure(level=os.environ.get("PENSTOCK_LOG_LEVEL", "INFO"))
    watching.hush()
    try:
        asyncio.run(service.main(os.environ))
    except (settings.SettingsError, tokens.KeyFileError, api.NoCredentialsError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(_WRONG)
    except (service.DeafError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
