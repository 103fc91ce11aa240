-- What the groups of roles.sql may do with the tables, views and functions of a warehouse on PostgreSQL.
--
-- The program runs it whenever it makes tables or views. By hand, by a login in backup_shares_migrator or a superuser,
-- where the groups were made later than the tables, or for views of your own:
--
--     psql --single-transaction -v ON_ERROR_STOP=1 -f sql/roles/grants.sql 'dbname=warehouse'
--
-- Safe to run again: it takes all rights away and gives those below. Nothing happens where the groups were not made.

DO $$
DECLARE
    view_name text;
    function_name text;
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('backup_shares_loader', 'backup_shares_analyst')) < 2 THEN
        RETURN;
    END IF;

    REVOKE ALL ON backup_share_history, backup_history, observations, rejected_records, observed_drift,
        policy_projects, policy_recipients, policy_exceptions, policy_limits, policy_versions, schema_version
        FROM PUBLIC, backup_shares_loader, backup_shares_analyst;

    GRANT SELECT ON schema_version TO backup_shares_loader;
    GRANT SELECT, INSERT ON backup_share_history, backup_history, observations, rejected_records, observed_drift,
        policy_projects, policy_recipients, policy_exceptions, policy_limits, policy_versions
        TO backup_shares_loader;
    -- Of a version only its end can ever change; what the ledger says stays.
    GRANT UPDATE (valid_to, closed_by) ON backup_share_history, backup_history TO backup_shares_loader;
    GRANT UPDATE (valid_to) ON policy_projects, policy_recipients, policy_exceptions, policy_limits, policy_versions
        TO backup_shares_loader;

    FOR view_name IN
        SELECT viewname
        FROM pg_views
        WHERE
            schemaname = current_schema()
            AND viewowner = (
                SELECT tableowner FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'observations'
            )
    LOOP
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, backup_shares_loader, backup_shares_analyst', view_name);
        EXECUTE format('GRANT SELECT ON %I TO backup_shares_loader, backup_shares_analyst', view_name);
    END LOOP;

    -- They run with the rights of whoever asks, and read views only.
    FOR function_name IN
        SELECT p.oid::regprocedure
        FROM pg_proc AS p
        WHERE
            p.pronamespace = current_schema()::regnamespace
            AND p.proname IN ('backup_shares_as_of', 'backups_as_of')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, backup_shares_loader, backup_shares_analyst', function_name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO backup_shares_loader, backup_shares_analyst', function_name);
    END LOOP;
END
$$;
