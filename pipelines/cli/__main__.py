"""`python -m pipelines.cli` is `backup-shares`. Not here: anything else."""

from pipelines.cli import main

main()
