"""A Volume Backup Service with its IAM that anyone can start: no cloud account, no network, same answers every time.

    records.py   what one backup and one share look like, odd ones among them
    world.py     which shares exist on which day; pure, from a seed
    scenario.py  what goes wrong on which day, told in advance
    drift.py     where a share that appears between two pages sorts
    wire.py      requests, answers, the shapes of errors, the steps in which an answer travels
    listings.py  filters, order and pages over the shares of one day
    iam.py       log-in, tokens, projects
    tls.py       certificates, good and bad
    behaviour.py what can be otherwise than with an honest service: hooks, and which requests they are about
    faults/      everything that can go wrong, by name
    history.py   what was asked, and what was true then
    service.py   the service: a request in, an answer out, no network
    server.py    the service on a port

Imports point upwards in this list, sockets stay in server.py.
Not here: anything the pipeline itself needs to run; it never imports this package.
"""
