"""The map of the house. The pipeline observes who shares volume backups with whom, and keeps the answer for ever.

    VBS API --extract--> landing --normalize--> shares, backups --record--> history --> SQL views

    Words           observation.py  listing, page, observation    schema.py   every table and column
                    errors.py       what can fail                 settings.py every setting
    Doors           client.py       HTTP                          warehouse.py  the database
                    connect.py      settings -> clients           publish.py    its file: one writer, many readers
                    answers.py      what an answer means          auth.py       accounts: projects, tokens
                    sockets.py      one deadline for everything   login.py      the identity service
                    traffic.py      how often to ask              clouds.py     clouds.yaml and OS_*, read offline
                    filters.py      the API's filters, verified
    Verb 1 extract  extract.py      observe listings side by side walk.py     the paging proof, no I/O
                    landing.py      raw pages, written once       redact.py   key material out of them
                    confirm.py      what is absent: is it gone?   ask.py      questions without a record
    Verb 2 normalize normalize.py   pages -> frames               records.py  the rules for one record
                                                                  delta.py    what differs, byte for byte
    Verb 3 record   history.py      what opens, what closes       load.py     what is landed and not recorded yet
    Conductor       definitions.py  all that Dagster is told      defs/       assets, resources
                    tuning.py       memory of the process
    For people      cli.py          the command line              output.py   tables, CSV, JSON, Parquet
                    ask.py          what the API says now
                    demo.py         several days in a minute      simulator/  a cloud that anyone can start

Arrows point from the bottom of this list to its top, never back; test_architecture.py holds them.
Not here: the questions that analysts ask; they are SQL, in sql/.
"""
