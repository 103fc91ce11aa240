-- What does the API say that this program does not know?
-- Grain: one row per region, kind, path and value, what is met now first.
-- Columns:
--   is_current      whether the last proven observation of some listing met it
--   kind            unknown_field or unknown_value (of a documented field)
--   path            where in the API's answer
--   value           the unknown value; empty for a field
--   first_seen_at   when it was met first
--   last_seen_at    when it was met last
--   listing_count   listings that ever met it
--   record_count    of each of them, the records that held it when it was last met there
--   example         what an unknown field held in one record, key material withheld
--   share_id        share of that record
--   region          region
select
    is_current,
    kind,
    path,
    value,
    first_seen_at,
    last_seen_at,
    listing_count,
    record_count,
    example,
    share_id,
    region
from schema_drift
order by is_current desc, region, kind, path, value
