"""A Volume Backup Service with its IAM that anyone can start: no cloud account, no network, same answers every time.

    records.py   what one backup and one share look like, odd ones among them
    world.py     which shares exist on which day; pure, from a seed
    scenario.py  what goes wrong on which day, told in advance
    faults.py    what goes wrong with which request
    drift.py     where a share that appears between two pages sorts
    listings.py  filters, order and pages over the shares of one day
    iam.py       log-in, tokens, projects
    wire.py      requests, answers and the shapes of errors
    service.py   the service: a request in, an answer out, no framework
    server.py    the service on a port

Imports point upwards in this list, the framework stays in server.py.
Not here: anything the pipeline itself needs to run; it never imports this package.
"""
