-- Who may do what in a warehouse on PostgreSQL: three groups, none of which can log in.
--
--     backup_shares_migrator   owns tables and views, makes and changes them; rebuilds
--     backup_shares_loader     records observations: adds rows, ends versions; deletes nothing
--     backup_shares_analyst    reads the views
--
-- Run by a superuser, or by the owner of the database if that role may create roles, in the warehouse's database:
--
--     psql --single-transaction -v ON_ERROR_STOP=1 -f sql/roles/roles.sql 'dbname=warehouse'
--
-- before the first sync. Each person and each program then gets a login of its own in one of the groups:
--
--     CREATE ROLE nightly_sync LOGIN PASSWORD '...' IN ROLE backup_shares_loader;
--
-- and this file is run again. That is always safe, and needed after each new login: PostgreSQL does not hand down
-- settings from a group to its members, so the end of this file gives them to every login there is.
-- What the groups may do with each table and view is in grants.sql: the program runs it when it makes them; where they
-- are there before the groups, a migrator does, once.
-- Tables that another role made before: REASSIGN OWNED BY that_role TO backup_shares_migrator.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['backup_shares_migrator', 'backup_shares_loader', 'backup_shares_analyst'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;

    -- Nobody comes in, or makes anything, merely because the server knows them.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO backup_shares_migrator, backup_shares_loader, backup_shares_analyst',
        current_database()
    );
    -- A schema for a rebuild beside the published one, and the extension btree_gist.
    EXECUTE format('GRANT CREATE ON DATABASE %I TO backup_shares_migrator', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO backup_shares_migrator, backup_shares_loader, backup_shares_analyst;
GRANT CREATE ON SCHEMA public TO backup_shares_migrator;

DO $$
DECLARE
    login record;
    setting text;
BEGIN
    FOR login IN
        SELECT member.rolname AS name, grouped.rolname AS of_group
        FROM pg_auth_members AS membership
        INNER JOIN pg_roles AS member ON membership.member = member.oid
        INNER JOIN pg_roles AS grouped ON membership.roleid = grouped.oid
        -- Not those who administer a group without using it.
        WHERE member.rolcanlogin AND NOT member.rolsuper AND pg_has_role(member.oid, grouped.oid, 'USAGE')
    LOOP
        FOREACH setting IN ARRAY CASE login.of_group
            -- What a migrator makes belongs to the group, so that the next one may change it.
            WHEN 'backup_shares_migrator' THEN ARRAY['role = backup_shares_migrator']
            -- Rights keep analysts from writing; this also spares the server a question that never ends, and the analyst
            -- the half minute that it takes to compile a long one, such as findings.
            WHEN 'backup_shares_analyst' THEN ARRAY[
                'default_transaction_read_only = on',
                'jit = off',
                'statement_timeout = ''5min''',
                'idle_in_transaction_session_timeout = ''10min'''
            ]
            ELSE ARRAY[]::text[]
        END LOOP
            EXECUTE format('ALTER ROLE %I IN DATABASE %I SET %s', login.name, current_database(), setting);
        END LOOP;
    END LOOP;
END
$$;
