"""The map of the house. The pipeline observes who shares volume backups with whom, and keeps the answer for ever.

    VBS API --extract--> landing --normalize--> shares, backups --record--> history --> SQL views

    Words            observation.py  listing, page, observation: the words of the domain
                     schema.py       every table and column
                     errors.py       what can fail, named by what to do about it
                     settings.py     every setting
    Door 1: the API  client.py       one request in, one checked page or one typed error out
                     answers.py      what an answer means
                     traffic.py      how often to ask, what is repeated
                     sockets.py      one deadline for everything
                     filters.py      the API's filters, verified
                     clouds.py       clouds.yaml and OS_*, read offline
                     login.py        the identity service: logins, projects, catalogue
                     auth.py         credentials -> accounts: projects, tokens, endpoint
                     connect.py      settings -> clients that are ready to ask
    Door 2: the disk landing.py      raw pages, written once
                     baseline.py     what the first of them said, frozen when they are pruned
                     policy_landing.py  the sharing policies that were in force
                     redact.py       key material out of them
                     warehouse.py    the database
                     tables.py       how its tables and views are made
                     engines.py      what DuckDB and PostgreSQL do each in its own way
                     relations.py    views and functions, and what the headers of SQL files say
                     publish.py      how a warehouse is opened
                     duckdb_file.py  in a file: one writer, many readers
                     postgres.py     on a server
    Verb 1 extract   extract.py      observe listings side by side
                     walk.py         what passes and counts prove about a listing
                     passes.py       one pass: which page next, up to where all was seen
                     rows.py         what a proof sees of a record, and the orders rows may come in
                     confirm.py      what is absent: is it gone?
    Verb 2 normalize normalize.py    pages -> tables
                     records.py      the rules for one record
                     drift.py        what the API says that is not known
                     delta.py        what differs, byte for byte
    Verb 3 record    history.py      what opens, what closes
                     record.py       one observation, within one transaction
                     policy.py       what may be shared with whom: policy.yaml, checked
                     policy_fold.py  the tables of the policies, from one to the next
                     load.py         what is landed and not recorded yet
                     rebuild.py      the same again from the landing, or compared with it
                     retention.py    what is old goes, when it is frozen
    Conductor        definitions.py  all that Dagster is told
                     defs/           assets, resources, the job that prunes
                     tuning.py       memory of the process
                     verdict.py      is a finished sync red, and why
    For people       cli/            the command line
                     ask.py          what the API says now, without a record
                     explain.py      the whole story of one share, down to the landed page
                     story.py        what such a story holds, how it is told
                     doctor.py       is all there that a sync needs, how does the service behave
                     this_machine.py what a sync finds here: landing, policy, warehouse, history
                     diagnosis.py    what is found there, judged
                     output.py       tables, CSV, JSON, Parquet
                     reports.py      the report pack: questions, parameters, answers
                     page/           the daily report, one HTML page
                     export.py       the whole history as Parquet files
                     dictionary.py   sql/README.md: columns, examples, worked questions
                     demo.py         several days in a minute
                     simulator/      a cloud that anyone can start, with everything that can go wrong

Who may import whom is held by test_architecture.py: rooms of higher floors import those below, never back.
Not here: the questions that analysts ask; they are SQL, in sql/.
"""
