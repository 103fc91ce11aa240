-- The tables of the warehouse on DuckDB. Generated from pipelines/schema.py by `make docs`; do not edit.
-- [[[cog
-- import cog, duckdb_engine
-- from pipelines.schema import ddl
-- for statement in ddl(duckdb_engine.Dialect()):
--     cog.outl(statement.replace("\t", "    ").replace(", \n", ",\n") + ";\n")
-- ]]]
CREATE TABLE IF NOT EXISTS observations (
    observation_id TEXT NOT NULL,
    sync_id TEXT NOT NULL,
    region TEXT NOT NULL,
    project_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE NOT NULL,
    status TEXT NOT NULL,
    is_proven BOOLEAN NOT NULL,
    may_close BOOLEAN NOT NULL,
    reason TEXT NOT NULL,
    error_code TEXT NOT NULL,
    count_before BIGINT,
    count_after BIGINT,
    distinct_ids BIGINT NOT NULL,
    absent_count BIGINT NOT NULL,
    held_count BIGINT NOT NULL,
    pass_count BIGINT NOT NULL,
    page_count BIGINT NOT NULL,
    request_count BIGINT NOT NULL,
    clock_skew_seconds BIGINT,
    share_count BIGINT NOT NULL,
    backup_count BIGINT NOT NULL,
    rejected_count BIGINT NOT NULL,
    conflict_count BIGINT NOT NULL,
    shares_granted BIGINT NOT NULL,
    shares_changed BIGINT NOT NULL,
    shares_withdrawn BIGINT NOT NULL,
    backups_opened BIGINT NOT NULL,
    backups_closed BIGINT NOT NULL,
    landing_file TEXT NOT NULL,
    landing_sha256 TEXT NOT NULL,
    PRIMARY KEY (observation_id),
    CHECK (status IN ('exact', 'covered', 'incomplete', 'failed')),
    CHECK (is_proven = (status IN ('exact', 'covered')))
);

COMMENT ON TABLE observations IS 'The ledger: one row per observation, proven or not. What is not here was not observed.';

COMMENT ON COLUMN observations.observation_id IS 'One walk of one listing in one sync.';

COMMENT ON COLUMN observations.sync_id IS 'Sync (Dagster run) that observed.';

COMMENT ON COLUMN observations.region IS 'Region that was asked (setting VBS_REGION).';

COMMENT ON COLUMN observations.project_id IS 'Project whose listing was read: the witness of this row.';

COMMENT ON COLUMN observations.direction IS 'outgoing: shared by the project; incoming: shared with it.';

COMMENT ON COLUMN observations.observed_at IS 'Start of the walk, UTC; its date is the snapshot_date.';

COMMENT ON COLUMN observations.finished_at IS 'End of the walk, UTC.';

COMMENT ON COLUMN observations.status IS 'exact, covered, incomplete or failed: how much the walk proves.';

COMMENT ON COLUMN observations.is_proven IS 'Whether the status proves that no share which existed throughout the walk is missing.';

COMMENT ON COLUMN observations.may_close IS 'Whether the walk proves absence: a share on no page was not there throughout.';

COMMENT ON COLUMN observations.reason IS 'Why it is not proven, or why nothing was closed; empty if there is nothing to say.';

COMMENT ON COLUMN observations.error_code IS 'The service''s own code of the error that ended the walk.';

COMMENT ON COLUMN observations.count_before IS 'Shares in the listing according to the count endpoint, before the walk.';

COMMENT ON COLUMN observations.count_after IS 'The same after the walk.';

COMMENT ON COLUMN observations.distinct_ids IS 'Distinct share ids that the walk read.';

COMMENT ON COLUMN observations.absent_count IS 'Shares known before that no page of the walk showed.';

COMMENT ON COLUMN observations.held_count IS 'Of those, shares whose withdrawal waits for a person''s word, because too many are absent at once.';

COMMENT ON COLUMN observations.pass_count IS 'Times that the listing was walked.';

COMMENT ON COLUMN observations.page_count IS 'Pages that were accepted and landed.';

COMMENT ON COLUMN observations.request_count IS 'Requests sent, repeats included.';

COMMENT ON COLUMN observations.clock_skew_seconds IS 'How far the service''s clock was ahead of ours (negative: behind), at most so far; null: it did not tell. Unit: s.';

COMMENT ON COLUMN observations.share_count IS 'Shares in the normalized listing.';

COMMENT ON COLUMN observations.backup_count IS 'Distinct backups that those shares are of.';

COMMENT ON COLUMN observations.rejected_count IS 'Records that could not be read (rejected_records).';

COMMENT ON COLUMN observations.conflict_count IS 'Shares and backups of which the listing told two things; what was told last, or is newer, was taken.';

COMMENT ON COLUMN observations.shares_granted IS 'Shares that were not open before.';

COMMENT ON COLUMN observations.shares_changed IS 'Shares whose content changed.';

COMMENT ON COLUMN observations.shares_withdrawn IS 'Shares that were closed.';

COMMENT ON COLUMN observations.backups_opened IS 'Versions of backups that were opened.';

COMMENT ON COLUMN observations.backups_closed IS 'Versions of backups that were closed.';

COMMENT ON COLUMN observations.landing_file IS 'File of the raw pages, below LANDING_DIR.';

COMMENT ON COLUMN observations.landing_sha256 IS 'SHA-256 of that file.';

CREATE TABLE IF NOT EXISTS policy_exceptions (
    exception_id TEXT NOT NULL,
    rule TEXT NOT NULL,
    share_id TEXT,
    backup_id TEXT,
    from_project_id TEXT,
    to_project_id TEXT,
    project_id TEXT,
    owner TEXT NOT NULL,
    reason TEXT NOT NULL,
    accepted_from DATE,
    expires_on DATE NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE NOT NULL,
    CHECK (valid_from < valid_to)
);

COMMENT ON TABLE policy_exceptions IS 'One row per exception of a policy, and version.';

COMMENT ON COLUMN policy_exceptions.exception_id IS 'Name of the exception. From exceptions[].id.';

COMMENT ON COLUMN policy_exceptions.rule IS 'Rule whose findings it accepts (findings.rule). From exceptions[].rule.';

COMMENT ON COLUMN policy_exceptions.share_id IS 'Of this share only; null: of any. From exceptions[].share.';

COMMENT ON COLUMN policy_exceptions.backup_id IS 'Of this backup only; null: of any. From exceptions[].backup.';

COMMENT ON COLUMN policy_exceptions.from_project_id IS 'Of what this project shares only; null: any. From exceptions[].from_project.';

COMMENT ON COLUMN policy_exceptions.to_project_id IS 'Of what is shared with this project only; null: any. From exceptions[].to_project.';

COMMENT ON COLUMN policy_exceptions.project_id IS 'About this project only; null: any. From exceptions[].project.';

COMMENT ON COLUMN policy_exceptions.owner IS 'Who answers for it. From exceptions[].owner.';

COMMENT ON COLUMN policy_exceptions.reason IS 'Why it is accepted. From exceptions[].reason.';

COMMENT ON COLUMN policy_exceptions.accepted_from IS 'First day, UTC; null: always. From exceptions[].starts.';

COMMENT ON COLUMN policy_exceptions.expires_on IS 'Last day, UTC. From exceptions[].expires.';

COMMENT ON COLUMN policy_exceptions.valid_from IS 'When the policy that first says so was landed; inclusive; UTC.';

COMMENT ON COLUMN policy_exceptions.valid_to IS 'When the policy that says otherwise was landed; exclusive; UTC; 9999-12-31 while in force.';

CREATE TABLE IF NOT EXISTS policy_limits (
    max_recipients BIGINT NOT NULL,
    max_share_age_days BIGINT,
    short_lived_hours BIGINT,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE NOT NULL,
    CHECK (valid_from < valid_to)
);

COMMENT ON TABLE policy_limits IS 'One row per version of the limits of a policy.';

COMMENT ON COLUMN policy_limits.max_recipients IS 'Most projects that may see one backup. From limits.max_recipients.';

COMMENT ON COLUMN policy_limits.max_share_age_days IS 'Longest that a share may last; null: any. Unit: d. From limits.max_share_age_days.';

COMMENT ON COLUMN policy_limits.short_lived_hours IS 'A share withdrawn sooner is short-lived; null: none is. Unit: h. From limits.short_lived_hours.';

COMMENT ON COLUMN policy_limits.valid_from IS 'When the policy that first says so was landed; inclusive; UTC.';

COMMENT ON COLUMN policy_limits.valid_to IS 'When the policy that says otherwise was landed; exclusive; UTC; 9999-12-31 while in force.';

CREATE TABLE IF NOT EXISTS policy_projects (
    project_id TEXT NOT NULL,
    project_name TEXT NOT NULL,
    owner TEXT NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE NOT NULL,
    CHECK (valid_from < valid_to)
);

COMMENT ON TABLE policy_projects IS 'One row per project that a policy names as our own, and version.';

COMMENT ON COLUMN policy_projects.project_id IS 'Project of our own. From projects[].id.';

COMMENT ON COLUMN policy_projects.project_name IS 'Its name. From projects[].name.';

COMMENT ON COLUMN policy_projects.owner IS 'Who answers for it. From projects[].owner.';

COMMENT ON COLUMN policy_projects.valid_from IS 'When the policy that first says so was landed; inclusive; UTC.';

COMMENT ON COLUMN policy_projects.valid_to IS 'When the policy that says otherwise was landed; exclusive; UTC; 9999-12-31 while in force.';

CREATE TABLE IF NOT EXISTS policy_recipients (
    project_id TEXT NOT NULL,
    project_name TEXT NOT NULL,
    owner TEXT NOT NULL,
    trusted_from DATE,
    trusted_until DATE,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE NOT NULL,
    CHECK (valid_from < valid_to)
);

COMMENT ON TABLE policy_recipients IS 'One row per recipient that a policy trusts, and version.';

COMMENT ON COLUMN policy_recipients.project_id IS 'Project of others that may see our backups. From recipients[].id.';

COMMENT ON COLUMN policy_recipients.project_name IS 'Its name. From recipients[].name.';

COMMENT ON COLUMN policy_recipients.owner IS 'Who answers for the trust. From recipients[].owner.';

COMMENT ON COLUMN policy_recipients.trusted_from IS 'First day of the trust, UTC; null: always. From recipients[].trusted_from.';

COMMENT ON COLUMN policy_recipients.trusted_until IS 'Last day of the trust, UTC; null: without end. From recipients[].trusted_until.';

COMMENT ON COLUMN policy_recipients.valid_from IS 'When the policy that first says so was landed; inclusive; UTC.';

COMMENT ON COLUMN policy_recipients.valid_to IS 'When the policy that says otherwise was landed; exclusive; UTC; 9999-12-31 while in force.';

CREATE TABLE IF NOT EXISTS policy_versions (
    policy_sha256 TEXT NOT NULL,
    landing_file TEXT NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE NOT NULL,
    CHECK (valid_from < valid_to)
);

COMMENT ON TABLE policy_versions IS 'One row per sharing policy that was ever in force. None: there never was one.';

COMMENT ON COLUMN policy_versions.policy_sha256 IS 'SHA-256 of what the policy says, whatever its comments and order.';

COMMENT ON COLUMN policy_versions.landing_file IS 'File of the policy, below LANDING_DIR.';

COMMENT ON COLUMN policy_versions.valid_from IS 'When the policy that first says so was landed; inclusive; UTC.';

COMMENT ON COLUMN policy_versions.valid_to IS 'When the policy that says otherwise was landed; exclusive; UTC; 9999-12-31 while in force.';

CREATE TABLE IF NOT EXISTS schema_version (
    version BIGINT NOT NULL,
    definition_sha256 TEXT NOT NULL
);

COMMENT ON TABLE schema_version IS 'One row: which version of the program made tables and views.';

COMMENT ON COLUMN schema_version.version IS 'Version of the tables (SCHEMA_VERSION in schema.py).';

COMMENT ON COLUMN schema_version.definition_sha256 IS 'SHA-256 of the statements that made tables and views.';

CREATE TABLE IF NOT EXISTS backup_history (
    region TEXT NOT NULL,
    project_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    backup_id TEXT NOT NULL,
    volume_id TEXT,
    volume_snapshot_id TEXT,
    backup_name TEXT,
    backup_status TEXT,
    availability_zone TEXT,
    container TEXT,
    description TEXT,
    description_text TEXT,
    fail_reason TEXT,
    size_gb BIGINT,
    object_count BIGINT,
    chain_size_mb BIGINT,
    space_saving_percent BIGINT,
    dedup_compression_code BIGINT,
    backup_type_code BIGINT,
    image_type_code BIGINT,
    storage_type_code BIGINT,
    is_incremental BOOLEAN,
    is_incremental_requested BOOLEAN,
    has_dependent_backups BOOLEAN,
    is_bootable BOOLEAN,
    backup_created_at TIMESTAMP WITH TIME ZONE,
    backup_updated_at TIMESTAMP WITH TIME ZONE,
    data_timestamp TIMESTAMP WITH TIME ZONE,
    row_hash TEXT NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE NOT NULL,
    opened_by TEXT NOT NULL,
    closed_by TEXT,
    CHECK (valid_from < valid_to),
    CHECK ((closed_by IS NULL) = (valid_to = TIMESTAMPTZ '9999-12-31 00:00:00+00'))
);

COMMENT ON TABLE backup_history IS 'One row per listing, backup and version: what a listing said of a backup, and from when until when.';

COMMENT ON COLUMN backup_history.region IS 'Region that was asked (setting VBS_REGION).';

COMMENT ON COLUMN backup_history.project_id IS 'Project whose listing was read: the witness of this row.';

COMMENT ON COLUMN backup_history.direction IS 'outgoing: shared by the project; incoming: shared with it.';

COMMENT ON COLUMN backup_history.backup_id IS 'Backup. From shared[].backup.id.';

COMMENT ON COLUMN backup_history.volume_id IS 'Volume (disk) that was backed up. From shared[].backup.volume_id.';

COMMENT ON COLUMN backup_history.volume_snapshot_id IS 'Snapshot of the volume that the backup was made from. From shared[].backup.snapshot_id.';

COMMENT ON COLUMN backup_history.backup_name IS 'Name of the backup, chosen by its owner. From shared[].backup.name.';

COMMENT ON COLUMN backup_history.backup_status IS 'Status of the backup: available, error, restoring, creating, deleting, and others. From shared[].backup.status.';

COMMENT ON COLUMN backup_history.availability_zone IS 'Availability zone of the backup. From shared[].backup.availability_zone.';

COMMENT ON COLUMN backup_history.container IS 'Container in the object storage; not a stable key. From shared[].backup.container.';

COMMENT ON COLUMN backup_history.description IS 'Description as received; often JSON with the keys DESC and INC. From shared[].backup.description.';

COMMENT ON COLUMN backup_history.description_text IS 'Description as a person wrote it: DESC where the description is such JSON. From description.';

COMMENT ON COLUMN backup_history.fail_reason IS 'Cause of a failure; may be filled while the status is available. From shared[].backup.fail_reason.';

COMMENT ON COLUMN backup_history.size_gb IS 'Size of the source volume. Unit: GB. From shared[].backup.size.';

COMMENT ON COLUMN backup_history.object_count IS 'Objects in the object storage; some clouds put a size in MB here. From shared[].backup.object_count.';

COMMENT ON COLUMN backup_history.chain_size_mb IS 'Data of the backup chain. Unit: MB. From shared[].backup.service_metadata.CS.';

COMMENT ON COLUMN backup_history.space_saving_percent IS 'Space saving rate. Unit: %. From shared[].backup.service_metadata.SS.';

COMMENT ON COLUMN backup_history.dedup_compression_code IS '0 none, 1 deduplication, 2 compression, 3 both. From shared[].backup.service_metadata.DL.';

COMMENT ON COLUMN backup_history.backup_type_code IS 'Full or incremental; the vendors'' texts disagree on which of 0 and 1 is which. From shared[].backup.service_metadata.Type.';

COMMENT ON COLUMN backup_history.image_type_code IS '0 disk, 1 server, 4 disk copy, 5 server copy. From shared[].backup.service_metadata.ST.';

COMMENT ON COLUMN backup_history.storage_type_code IS 'Type of the storage that holds the backup. From shared[].backup.service_metadata.BT.';

COMMENT ON COLUMN backup_history.is_incremental IS 'Whether the backup is incremental, says the API; often null, not reliable. From shared[].backup.is_incremental.';

COMMENT ON COLUMN backup_history.is_incremental_requested IS 'Whether an incremental backup was asked for (INC of the description). From description.';

COMMENT ON COLUMN backup_history.has_dependent_backups IS 'Whether other backups build on this one. From shared[].backup.has_dependent_backups.';

COMMENT ON COLUMN backup_history.is_bootable IS 'Whether the source volume is a boot disk. From shared[].backup.service_metadata.bootable.';

COMMENT ON COLUMN backup_history.backup_created_at IS 'When the backup was made, UTC. From shared[].backup.created_at.';

COMMENT ON COLUMN backup_history.backup_updated_at IS 'When the backup was last changed, UTC. From shared[].backup.updated_at.';

COMMENT ON COLUMN backup_history.data_timestamp IS 'Recovery point: the instant whose data the backup holds, UTC. From shared[].backup.data_timestamp.';

COMMENT ON COLUMN backup_history.row_hash IS 'Fingerprint of the columns that come from the API (fingerprint in normalize.py).';

COMMENT ON COLUMN backup_history.valid_from IS 'observed_at of the observation that first saw this content; inclusive; UTC.';

COMMENT ON COLUMN backup_history.valid_to IS 'observed_at of the observation that ended it; exclusive; UTC; 9999-12-31 while current.';

COMMENT ON COLUMN backup_history.opened_by IS 'observation_id of the observation at valid_from.';

COMMENT ON COLUMN backup_history.closed_by IS 'observation_id of the observation at valid_to; null while current.';

CREATE TABLE IF NOT EXISTS backup_share_history (
    region TEXT NOT NULL,
    project_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    share_id TEXT NOT NULL,
    backup_id TEXT NOT NULL,
    from_project_id TEXT,
    to_project_id TEXT,
    share_created_at TIMESTAMP WITH TIME ZONE,
    share_updated_at TIMESTAMP WITH TIME ZONE,
    row_hash TEXT NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE NOT NULL,
    valid_to TIMESTAMP WITH TIME ZONE NOT NULL,
    opened_by TEXT NOT NULL,
    closed_by TEXT,
    CHECK (valid_from < valid_to),
    CHECK ((closed_by IS NULL) = (valid_to = TIMESTAMPTZ '9999-12-31 00:00:00+00'))
);

COMMENT ON TABLE backup_share_history IS 'One row per listing, share and version: what a listing said of a share, and from when until when.';

COMMENT ON COLUMN backup_share_history.region IS 'Region that was asked (setting VBS_REGION).';

COMMENT ON COLUMN backup_share_history.project_id IS 'Project whose listing was read: the witness of this row.';

COMMENT ON COLUMN backup_share_history.direction IS 'outgoing: shared by the project; incoming: shared with it.';

COMMENT ON COLUMN backup_share_history.share_id IS 'Share. From shared[].id.';

COMMENT ON COLUMN backup_share_history.backup_id IS 'Backup that is shared. From shared[].backup_id.';

COMMENT ON COLUMN backup_share_history.from_project_id IS 'Project that shares the backup: the giver. From shared[].from_project_id.';

COMMENT ON COLUMN backup_share_history.to_project_id IS 'Project that the backup is shared with: the recipient (the API''s page says otherwise). From shared[].to_project_id.';

COMMENT ON COLUMN backup_share_history.share_created_at IS 'When the share was granted, UTC. From shared[].created_at.';

COMMENT ON COLUMN backup_share_history.share_updated_at IS 'When the share was last changed, UTC; null if never. From shared[].updated_at.';

COMMENT ON COLUMN backup_share_history.row_hash IS 'Fingerprint of the columns that come from the API (fingerprint in normalize.py).';

COMMENT ON COLUMN backup_share_history.valid_from IS 'observed_at of the observation that first saw this content; inclusive; UTC.';

COMMENT ON COLUMN backup_share_history.valid_to IS 'observed_at of the observation that ended it; exclusive; UTC; 9999-12-31 while current.';

COMMENT ON COLUMN backup_share_history.opened_by IS 'observation_id of the observation at valid_from.';

COMMENT ON COLUMN backup_share_history.closed_by IS 'observation_id of the observation at valid_to; null while current.';

CREATE TABLE IF NOT EXISTS observed_drift (
    observation_id TEXT NOT NULL,
    region TEXT NOT NULL,
    project_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    kind TEXT NOT NULL,
    path TEXT NOT NULL,
    value TEXT NOT NULL,
    record_count BIGINT NOT NULL,
    example TEXT NOT NULL,
    share_id TEXT
);

COMMENT ON TABLE observed_drift IS 'Schema drift: one row per observation and thing in the answer that this program does not know.';

COMMENT ON COLUMN observed_drift.observation_id IS 'Observation that met it.';

COMMENT ON COLUMN observed_drift.region IS 'Region that was asked (setting VBS_REGION).';

COMMENT ON COLUMN observed_drift.project_id IS 'Project whose listing was read: the witness of this row.';

COMMENT ON COLUMN observed_drift.direction IS 'outgoing: shared by the project; incoming: shared with it.';

COMMENT ON COLUMN observed_drift.observed_at IS 'observed_at of that observation, UTC.';

COMMENT ON COLUMN observed_drift.kind IS 'unknown_field: a field that no column is read from; unknown_value: a value beside the documented ones.';

COMMENT ON COLUMN observed_drift.path IS 'Where in the API''s answer, such as shared[].backup.status.';

COMMENT ON COLUMN observed_drift.value IS 'The unknown value, shortened; empty for an unknown field.';

COMMENT ON COLUMN observed_drift.record_count IS 'Records that hold it, each share once; pages, for a field beside `shared`.';

COMMENT ON COLUMN observed_drift.example IS 'What an unknown field held in one record, as JSON, shortened, key material withheld; empty for a value.';

COMMENT ON COLUMN observed_drift.share_id IS 'Share of that record; null for a field beside `shared`, or if its id cannot be read.';

CREATE TABLE IF NOT EXISTS rejected_records (
    observation_id TEXT NOT NULL,
    region TEXT NOT NULL,
    project_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    page_number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    share_id TEXT,
    backup_id TEXT,
    reason TEXT NOT NULL,
    raw_json TEXT NOT NULL
);

COMMENT ON TABLE rejected_records IS 'Quarantine: one row per record that could not be read, kept as received with the reason.';

COMMENT ON COLUMN rejected_records.observation_id IS 'Observation that met the record.';

COMMENT ON COLUMN rejected_records.region IS 'Region that was asked (setting VBS_REGION).';

COMMENT ON COLUMN rejected_records.project_id IS 'Project whose listing was read: the witness of this row.';

COMMENT ON COLUMN rejected_records.direction IS 'outgoing: shared by the project; incoming: shared with it.';

COMMENT ON COLUMN rejected_records.observed_at IS 'observed_at of that observation, UTC.';

COMMENT ON COLUMN rejected_records.page_number IS 'Page in the landing file, from 0.';

COMMENT ON COLUMN rejected_records.position IS 'Position of the record in the page, from 0.';

COMMENT ON COLUMN rejected_records.share_id IS 'Share, if the record''s id can be read; its open version is neither changed nor closed.';

COMMENT ON COLUMN rejected_records.backup_id IS 'Backup, if that id can be read; its open version is neither changed nor closed.';

COMMENT ON COLUMN rejected_records.reason IS 'What is wrong with the record.';

COMMENT ON COLUMN rejected_records.raw_json IS 'The record as received, key material blanked.';

-- [[[end]]]
