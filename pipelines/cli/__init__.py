"""The command line: `backup-shares`, and demo, sync, doctor, list, query, report, daily-report, export, explain,
policy, migrate, rebuild, prune or simulate.

Exit codes: 0 every listing proven; 1 something was not (the rest is published); 2 configuration or usage, nothing
requested. Heavy imports happen inside the commands, so that help and errors are instant.
Not here: any work; each command calls a verb and prints what it did.
"""

from pipelines.cli import keeping, looking, policing, reporting, simulating, syncing
from pipelines.cli.frame import main

__all__ = ["keeping", "looking", "main", "policing", "reporting", "simulating", "syncing"]
