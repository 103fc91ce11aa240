"""The only room, with definitions.py, that knows Dagster: assets, resources. Not here: what the verbs do."""
