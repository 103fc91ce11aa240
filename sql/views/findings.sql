-- Which shares, backups and projects need somebody's word, by which rule, since when, and who has accepted what?
-- Grain: one row per rule and subject: a share, a backup, a backup and recipient, a project, or an exception. A share
-- counts from share_created_at, or from when it was first seen if that is earlier or nothing is said, to when it was
-- proven gone, as any listing says. At every moment of that time it is judged by the policy in force then, before it
-- was first seen by the one in force when it was (the first policy also judges all that was before it): a later policy
-- begins or ends findings, and never rewrites what was found before. Now is the last proven observation of any listing;
-- whole days are days in UTC. short_lived_share is an event: it is never over, and an exception that once covered it
-- has settled it. A giver and a receiver that differ within a day are no finding. Without any policy the rules that
-- need one are silent: untrusted_recipient, unknown_project, expired_exception, fan_out, stale_share,
-- short_lived_share. All shares are judged that any listing told of, also those that projects of others give to ours:
-- untrusted_recipient (high): the policy names the recipient neither as ours nor as trusted at that time;
-- fan_out (high): a backup has more recipients at once than max_recipients;
-- first_ever_recipient (medium): no listing told of this recipient before, and it was not there at the first look;
-- short_lived_share (medium): gone less than short_lived_hours after it was granted;
-- regranted_share (medium): the same backup is shared with the same recipient again after it was gone;
-- failed_backup_shared (medium): the status of a shared backup begins with error, or it tells a fail reason;
-- giver_receiver_disagree (medium): both are observed, and one lacks a share that the other shows before and after;
-- expired_exception (medium): an exception has run out, and what it accepted still stands;
-- stale_share (low): there for more than max_share_age_days;
-- unknown_project (low): a project that gives or receives, and that the policy names nowhere;
-- self_share (low): a project shares with itself.
-- Columns:
--   finding_id             made of rule, region and subject; the same whenever the warehouse is made again
--   rule                   rule of the sharing policy, or of common sense
--   severity               high, medium or low
--   state                  open; accepted (an exception of the policy in force covers it now); resolved (the condition
--                          is over, since resolved_at); reopened (open again: after it was over, or after an exception
--                          that covered it ran out)
--   region                 region
--   share_id               share, where it is about one
--   backup_id              backup, where it is about one
--   from_project_id        giver, where it is about one
--   to_project_id          recipient, where it is about one
--   project_id             project, where it is about one
--   exception_id           exception that accepts it, else the one that did so last; of expired_exception the one that
--                          ran out
--   exception_owner        who answers for that exception
--   exception_reason       why it was accepted
--   exception_expires_on   last day of that exception, UTC
--   first_seen             when the condition began first, UTC
--   last_seen              until when it surely held, UTC
--   resolved_at            since when it is over, UTC; null: it is not
--   occurrence_count       how often it began
--   detail                 the finding in a sentence
--   known_since            since when the condition can be known: the observation that showed it, or when the policy
--                          came by which it is found; of the last time that it began, UTC
with ledger as (
    select
        max(observed_at) as as_of,
        max(observed_at) + interval '1 microsecond' as horizon -- an interval that ends here holds now
    from observations
    where is_proven
),

syncs as (
    select
        region,
        sync_id,
        max(observed_at) as sync_end
    from observations
    group by region, sync_id
),

-- The listings of one sync speak at the same time, as in backup_shares.
last_proof as (
    select
        o.region,
        o.project_id,
        o.direction,
        min(o.observed_at) as first_proven_at,
        max(o.observed_at) as last_proven_at,
        max(s.sync_end) as told_until,
        max(max(s.sync_end)) over (partition by o.region) as others_told_until,
        row_number() over (order by o.region, o.project_id, o.direction) as listing_number
    from observations as o
    inner join syncs as s
        on o.region = s.region and o.sync_id = s.sync_id
    where o.is_proven
    group by o.region, o.project_id, o.direction
),

-- Listings that are behind: what is open there, others may know to be over.
behind as (
    select *
    from last_proof
    where told_until < others_told_until
),

-- shares: from when to when they were there, as any listing says

left_open as (
    select
        h.*,
        b.told_until,
        b.listing_number
    from backup_share_history as h
    inner join behind as b
        on h.region = b.region and h.project_id = b.project_id and h.direction = b.direction
    where h.closed_by is null
),

-- A listing that is behind is believed until another proved the share gone, or told it with other projects or backup.
overtaken as (
    select
        listing_number,
        share_id,
        min(case when is_another then valid_from else valid_to end) as ended_at
    from (
        select
            k.listing_number,
            k.share_id,
            k.told_until,
            h.valid_from,
            h.valid_to,
            h.closed_by,
            h.valid_from > k.told_until
            and (
                h.backup_id <> k.backup_id
                or h.from_project_id is distinct from k.from_project_id
                or h.to_project_id is distinct from k.to_project_id
            ) as is_another
        from left_open as k
        inner join backup_share_history as h
            on k.region = h.region and k.share_id = h.share_id
    ) as t
    where is_another or (closed_by is not null and valid_to > told_until)
    group by listing_number, share_id
),

-- Left joins where inner ones would do: PostgreSQL takes three equal texts for rarer than they are, and a few rows for
-- so few that it compares each with all others.
sights as not materialized (
    select
        h.region,
        h.project_id,
        h.direction,
        h.share_id,
        h.backup_id,
        h.from_project_id,
        h.to_project_id,
        h.share_created_at,
        h.valid_from as seen_from,
        h.valid_from = p.first_proven_at as is_baseline,
        p.last_proven_at,
        case
            when h.closed_by is not null then h.valid_to
            else coalesce(k.ended_at, l.horizon)
        end as seen_to
    from backup_share_history as h
    cross join ledger as l
    left join last_proof as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    left join overtaken as k
        on p.listing_number = k.listing_number and h.share_id = k.share_id
),

spans as (
    select
        region,
        share_id,
        backup_id,
        from_project_id,
        to_project_id,
        min(seen_from) as seen_from,
        max(seen_to) as seen_to,
        max(seen_from) <= min(seen_to) as is_one_stay,
        least(min(seen_from), coalesce(min(share_created_at), min(seen_from))) as granted_at,
        coalesce(min(case when is_baseline then seen_from end) = min(seen_from), false) as is_baseline,
        min(case when direction = 'outgoing' then seen_from end) as given_from,
        max(case when direction = 'outgoing' then seen_to end) as given_to,
        min(case when direction = 'incoming' then seen_from end) as received_from,
        max(case when direction = 'incoming' then seen_to end) as received_to
    from sights
    group by region, share_id, backup_id, from_project_id, to_project_id
),

-- The few that may have been away in between.
sights_in_order as (
    select
        t.*,
        max(t.seen_to) over (
            partition by t.region, t.share_id, t.backup_id, t.from_project_id, t.to_project_id
            order by t.seen_from, t.seen_to
            rows between unbounded preceding and 1 preceding
        ) as seen_before
    from sights as t
    where
        exists (
            select 1 from spans as s
            where not s.is_one_stay and s.region = t.region and s.share_id = t.share_id
        )
),

sights_in_stays as materialized (
    select
        *,
        sum(case when seen_from <= seen_before then 0 else 1 end) over (
            partition by region, share_id, backup_id, from_project_id, to_project_id
            order by seen_from, seen_to
            rows between unbounded preceding and current row
        ) as stay
    from sights_in_order
),

exposures as not materialized (
    select
        region,
        share_id,
        backup_id,
        from_project_id,
        to_project_id,
        seen_from,
        seen_to,
        granted_at,
        is_baseline
    from spans
    where is_one_stay
    union all
    select
        t.region,
        t.share_id,
        t.backup_id,
        t.from_project_id,
        t.to_project_id,
        min(t.seen_from) as seen_from,
        max(t.seen_to) as seen_to,
        least(min(t.seen_from), coalesce(min(t.share_created_at), min(t.seen_from))) as granted_at,
        coalesce(min(case when t.is_baseline then t.seen_from end) = min(t.seen_from), false) as is_baseline
    from sights_in_stays as t
    inner join spans as s
        on
            t.region = s.region
            and t.share_id = s.share_id
            and t.backup_id = s.backup_id
            and coalesce(t.from_project_id, '') = coalesce(s.from_project_id, '')
            and coalesce(t.to_project_id, '') = coalesce(s.to_project_id, '')
    where not s.is_one_stay
    group by t.region, t.share_id, t.backup_id, t.from_project_id, t.to_project_id, t.stay
),

-- the policy: from when to when an entry is in force

policy_start as (
    select min(valid_from) as first_from
    from policy_versions
    having count(*) > 0
),

limits as (
    select
        p.max_recipients,
        p.max_share_age_days,
        p.short_lived_hours,
        case when p.valid_from = s.first_from then timestamptz '1900-01-01 00:00:00+00' else p.valid_from end
            as force_from,
        p.valid_to as force_to
    from policy_limits as p
    cross join policy_start as s
),

-- What the policy allows: a rule is silent about the project for that time.
entries as (
    select
        project_id,
        valid_from,
        valid_to,
        true as is_own,
        cast(null as date) as trusted_from,
        cast(null as date) as trusted_until
    from policy_projects
    union all
    select
        project_id,
        valid_from,
        valid_to,
        false as is_own,
        trusted_from,
        trusted_until
    from policy_recipients
),

allowances as (
    select
        r.rule,
        p.project_id,
        case when p.valid_from = s.first_from then timestamptz '1900-01-01 00:00:00+00' else p.valid_from end
            as force_from,
        p.valid_to as force_to,
        case
            when r.rule = 'untrusted_recipient' and p.trusted_from is not null
                then cast(p.trusted_from as timestamp) at time zone 'UTC'
            else timestamptz '1900-01-01 00:00:00+00'
        end as trusted_from,
        case
            when r.rule = 'untrusted_recipient' and p.trusted_until is not null
                then cast(p.trusted_until + 1 as timestamp) at time zone 'UTC'
            else timestamptz '9999-12-31 00:00:00+00'
        end as trusted_to
    from entries as p
    cross join policy_start as s
    cross join (values ('untrusted_recipient'), ('first_ever_recipient'), ('unknown_project')) as r (rule)
),

-- Of whom the rule never says anything: most claims.
ever_allowed as (
    select distinct rule, project_id
    from allowances
    where
        force_from = timestamptz '1900-01-01 00:00:00+00'
        and force_to = timestamptz '9999-12-31 00:00:00+00'
        and trusted_from = timestamptz '1900-01-01 00:00:00+00'
        and trusted_to = timestamptz '9999-12-31 00:00:00+00'
),

acceptances as (
    select
        p.exception_id,
        p.rule,
        p.share_id,
        p.backup_id,
        p.from_project_id,
        p.to_project_id,
        p.project_id,
        p.owner,
        p.reason,
        p.expires_on,
        cast(p.expires_on + 1 as timestamp) at time zone 'UTC' as expired_at,
        case when p.valid_from = s.first_from then timestamptz '1900-01-01 00:00:00+00' else p.valid_from end
            as force_from,
        p.valid_to as force_to,
        coalesce(cast(p.accepted_from as timestamp) at time zone 'UTC', timestamptz '1900-01-01 00:00:00+00')
            as accepted_at
    from policy_exceptions as p
    cross join policy_start as s
),

-- rules about a project that the policy may allow

recipients as (
    select
        region,
        to_project_id,
        min(seen_from) as first_at,
        bool_or(is_baseline) as is_old
    from exposures
    group by region, to_project_id
),

claims as (
    select
        'untrusted_recipient' as rule,
        e.share_id as subject,
        e.region,
        e.share_id,
        e.backup_id,
        e.from_project_id,
        e.to_project_id,
        e.to_project_id as project_id,
        e.granted_at as claimed_from,
        e.seen_from,
        e.seen_to as claimed_to
    from exposures as e
    cross join policy_start as s
    where
        not exists (
            select 1 from ever_allowed as a
            where a.rule = 'untrusted_recipient' and e.to_project_id = a.project_id
        )
    union all
    select
        'first_ever_recipient' as rule,
        e.to_project_id as subject,
        e.region,
        e.share_id,
        e.backup_id,
        e.from_project_id,
        e.to_project_id,
        e.to_project_id as project_id,
        e.seen_from as claimed_from,
        e.seen_from,
        e.seen_to as claimed_to
    from exposures as e
    inner join recipients as r
        on e.region = r.region and e.to_project_id = r.to_project_id and e.seen_from = r.first_at
    where not r.is_old
    union all
    select
        'unknown_project' as rule,
        p.project_id as subject,
        e.region,
        null as share_id,
        null as backup_id,
        null as from_project_id,
        null as to_project_id,
        p.project_id,
        e.granted_at as claimed_from,
        e.seen_from,
        e.seen_to as claimed_to
    from exposures as e
    cross join policy_start as s
    cross join lateral (values (e.from_project_id), (e.to_project_id)) as p (project_id)
    where
        not exists (
            select 1 from ever_allowed as a
            where a.rule = 'unknown_project' and p.project_id = a.project_id
        )
),

-- Many others are allowed from their beginning to their end.
doubted_claims as (
    select
        c.*,
        row_number() over (order by c.rule, c.region, c.subject, c.share_id, c.claimed_from, c.claimed_to)
            as claim_number
    from claims as c
    where
        not exists (
            select 1
            from allowances as a
            where
                c.rule = a.rule
                and c.project_id = a.project_id
                and c.seen_from >= a.force_from
                and c.claimed_from >= a.trusted_from
                and c.claimed_to <= least(a.force_to, a.trusted_to)
        )
),

-- Where nothing is allowed between two neighbours, something is found.
claim_parts as (
    select claim_number, claimed_from as part_from, claimed_from as part_to
    from doubted_claims
    union all
    select claim_number, claimed_to as part_from, claimed_to as part_to
    from doubted_claims
    union all
    select
        c.claim_number,
        greatest(
            c.claimed_from,
            a.trusted_from,
            -- What was before the share was first seen, the policy that was in force then judges.
            case when a.force_from > c.seen_from then a.force_from else c.claimed_from end
        ) as part_from,
        least(c.claimed_to, a.trusted_to, a.force_to) as part_to
    from doubted_claims as c
    inner join allowances as a
        on c.rule = a.rule and c.project_id = a.project_id
    where
        a.force_to > c.seen_from
        and a.force_from < c.claimed_to
        and a.trusted_to > case when a.force_from > c.seen_from then a.force_from else c.claimed_from end
        and a.trusted_from < least(c.claimed_to, a.force_to)
),

claim_gaps as (
    select
        claim_number,
        part_from as gap_to,
        max(part_to) over (
            partition by claim_number
            order by part_from, part_to
            rows between unbounded preceding and 1 preceding
        ) as gap_from
    from claim_parts
),

not_allowed as (
    select
        c.rule,
        c.subject,
        c.region,
        c.share_id,
        c.backup_id,
        c.from_project_id,
        c.to_project_id,
        c.project_id,
        g.gap_from as began_at,
        g.gap_to as ended_at,
        cast(null as bigint) as figure,
        greatest(g.gap_from, c.seen_from) as told_at
    from doubted_claims as c
    inner join claim_gaps as g
        on c.claim_number = g.claim_number
    where g.gap_from < g.gap_to
),

-- rules about how many and how long

-- Most backups have few recipients, and most recipients one share of a backup: nothing has to be counted there.
shared_again as (
    select region, backup_id
    from exposures
    group by region, backup_id
    having count(*) > least(1, (select min(max_recipients) from limits))
),

crowded as (
    select e.region, e.backup_id
    from exposures as e
    inner join shared_again as a
        on e.region = a.region and e.backup_id = a.backup_id
    group by e.region, e.backup_id
    having
        count(*) > count(distinct e.to_project_id)
        or count(distinct e.to_project_id) > (select min(max_recipients) from limits)
),

pairs_in_order as (
    select
        e.*,
        max(e.seen_to) over (
            partition by e.region, e.backup_id, e.to_project_id
            order by e.seen_from, e.seen_to, e.share_id
            rows between unbounded preceding and 1 preceding
        ) as seen_before
    from exposures as e
    inner join crowded as c
        on e.region = c.region and e.backup_id = c.backup_id
),

pairs as (
    select
        *,
        coalesce(seen_from > seen_before, false) as is_regranted,
        sum(case when seen_from <= seen_before then 0 else 1 end) over (
            partition by region, backup_id, to_project_id
            order by seen_from, seen_to, share_id
            rows between unbounded preceding and current row
        ) as stay
    from pairs_in_order
),

-- A recipient counts once, however many shares of the backup it has.
recipient_stays as (
    select
        region,
        backup_id,
        to_project_id,
        max(from_project_id) as from_project_id,
        min(seen_from) as seen_from,
        max(seen_to) as seen_to
    from pairs
    group by region, backup_id, to_project_id, stay
),

recipient_steps as (
    select region, backup_id, from_project_id, seen_from as moment, 1 as step
    from recipient_stays
    union all
    select region, backup_id, from_project_id, seen_to as moment, -1 as step
    from recipient_stays
),

recipient_moments as (
    select
        region,
        backup_id,
        moment,
        max(from_project_id) as from_project_id,
        sum(sum(step)) over (partition by region, backup_id order by moment) as recipient_count,
        lead(moment) over (partition by region, backup_id order by moment) as next_moment
    from recipient_steps
    group by region, backup_id, moment
),

measured as (
    select
        'fan_out' as rule,
        m.backup_id as subject,
        m.region,
        null as share_id,
        m.backup_id,
        m.from_project_id,
        null as to_project_id,
        null as project_id,
        greatest(m.moment, l.force_from) as began_at,
        least(m.next_moment, l.force_to) as ended_at,
        cast(m.recipient_count as bigint) as figure
    from recipient_moments as m
    cross join limits as l
    where m.recipient_count > l.max_recipients and m.moment < l.force_to and l.force_from < m.next_moment
    union all
    select
        'stale_share' as rule,
        e.share_id as subject,
        e.region,
        e.share_id,
        e.backup_id,
        e.from_project_id,
        e.to_project_id,
        null as project_id,
        greatest(e.granted_at + l.max_share_age_days * interval '1 day', e.seen_from, l.force_from) as began_at,
        least(e.seen_to, l.force_to) as ended_at,
        l.max_share_age_days as figure
    from exposures as e
    cross join limits as l
    where
        greatest(e.granted_at + l.max_share_age_days * interval '1 day', e.seen_from, l.force_from)
        < least(e.seen_to, l.force_to)
        and l.max_share_age_days is not null
    union all
    select
        'short_lived_share' as rule,
        e.share_id as subject,
        e.region,
        e.share_id,
        e.backup_id,
        e.from_project_id,
        e.to_project_id,
        null as project_id,
        e.seen_to as began_at,
        h.horizon as ended_at,
        l.short_lived_hours as figure
    from exposures as e
    cross join ledger as h
    inner join limits as l
        on e.seen_to >= l.force_from and e.seen_to < l.force_to
    where
        e.seen_to < h.horizon
        and extract(epoch from e.seen_to) - extract(epoch from e.granted_at) < l.short_lived_hours * 3600
        -- What was there when the listing was first seen may be of any age.
        and not (e.is_baseline and e.granted_at = e.seen_from)
    union all
    select
        'regranted_share' as rule,
        backup_id || ' ' || to_project_id as subject,
        region,
        share_id,
        backup_id,
        from_project_id,
        to_project_id,
        null as project_id,
        seen_from as began_at,
        seen_to as ended_at,
        cast(null as bigint) as figure
    from pairs
    where is_regranted
    union all
    select
        'self_share' as rule,
        share_id as subject,
        region,
        share_id,
        backup_id,
        from_project_id,
        to_project_id,
        null as project_id,
        seen_from as began_at,
        seen_to as ended_at,
        cast(null as bigint) as figure
    from exposures
    where from_project_id = to_project_id
),

-- a failed backup that is shared

failed_versions as (
    select
        h.region,
        h.backup_id,
        h.valid_from,
        h.valid_to,
        case when h.closed_by is null then b.last_proven_at end as shown_until,
        case when h.closed_by is null then b.told_until end as told_until
    from backup_history as h
    left join behind as b
        on h.region = b.region and h.project_id = b.project_id and h.direction = b.direction
    where h.backup_status like 'error%' or h.fail_reason <> ''
),

-- Of those that are open in a listing that is behind: when any listing told of the backup last.
told_of_since as (
    select
        k.region,
        k.backup_id,
        max(case when h.closed_by is null then p.told_until else h.valid_to end) as freshest
    from (select distinct region, backup_id from failed_versions where told_until is not null) as k
    inner join backup_history as h
        on k.region = h.region and k.backup_id = h.backup_id
    inner join last_proof as p
        on h.region = p.region and h.project_id = p.project_id and h.direction = p.direction
    group by k.region, k.backup_id
),

failures as (
    select
        v.region,
        v.backup_id,
        v.valid_from,
        case when v.told_until < t.freshest then v.shown_until else v.valid_to end as valid_to
    from failed_versions as v
    left join told_of_since as t
        on v.region = t.region and v.backup_id = t.backup_id
),

failed as (
    select
        'failed_backup_shared' as rule,
        e.backup_id as subject,
        e.region,
        null as share_id,
        e.backup_id,
        e.from_project_id,
        null as to_project_id,
        null as project_id,
        greatest(e.seen_from, f.valid_from) as began_at,
        least(e.seen_to, f.valid_to) as ended_at,
        cast(null as bigint) as figure
    from failures as f
    inner join exposures as e
        on f.region = e.region and f.backup_id = e.backup_id
    where greatest(e.seen_from, f.valid_from) < least(e.seen_to, f.valid_to)
),

-- giver and receiver: both observed, and one does not show what the other shows before and after

looks as (
    select
        o.region,
        o.project_id,
        o.direction,
        o.observed_at,
        o.may_close and r.observation_id is null as proves_absence
    from observations as o
    left join (select distinct observation_id from rejected_records) as r
        on o.observation_id = r.observation_id
    where o.is_proven
),

-- Both sides are observed, and they do not begin and end on the same days.
doubted_shares as (
    select distinct s.region, s.share_id
    from spans as s
    inner join last_proof as g
        on s.region = g.region and s.from_project_id = g.project_id and g.direction = 'outgoing'
    inner join last_proof as r
        on s.region = r.region and s.to_project_id = r.project_id and r.direction = 'incoming'
    where
        not s.is_one_stay
        or s.given_from is null
        or s.received_from is null
        or cast(s.given_from at time zone 'UTC' as date) <> cast(s.received_from at time zone 'UTC' as date)
        or cast(s.given_to at time zone 'UTC' as date) <> cast(s.received_to at time zone 'UTC' as date)
),

-- One row per version and side: what it shows, and who else should.
sides as (
    select
        s.region,
        s.share_id,
        s.backup_id,
        s.from_project_id,
        s.to_project_id,
        s.project_id,
        s.direction,
        s.seen_from,
        case when s.seen_to > l.as_of then s.last_proven_at else s.seen_to end as seen_to,
        s.seen_to > l.as_of as is_open,
        case when s.direction = 'outgoing' then s.to_project_id else s.from_project_id end as other_project_id,
        case when s.direction = 'outgoing' then 'incoming' else 'outgoing' end as other_direction,
        row_number() over (order by s.region, s.share_id, s.direction, s.seen_from) as side_number
    from sights as s
    cross join ledger as l
    inner join doubted_shares as d
        on s.region = d.region and s.share_id = d.share_id
),

side_parts as (
    select side_number, seen_from as part_from, seen_from as part_to
    from sides
    union all
    select side_number, seen_to as part_from, seen_to as part_to
    from sides
    union all
    select
        s.side_number,
        greatest(s.seen_from, t.seen_from) as part_from,
        least(s.seen_to, case when t.is_open then s.seen_to else t.seen_to end) as part_to
    from sides as s
    inner join sides as t
        on s.region = t.region and s.share_id = t.share_id and s.other_direction = t.direction
    where t.seen_from < s.seen_to and (t.is_open or t.seen_to > s.seen_from)
),

side_gaps as (
    select
        side_number,
        part_from as gap_to,
        max(part_to) over (
            partition by side_number
            order by part_from, part_to
            rows between unbounded preceding and 1 preceding
        ) as gap_from
    from side_parts
),

last_looks as (
    -- Until when the side surely showed it: its last look before the share was gone there.
    select
        s.side_number,
        max(o.observed_at) as shown_at
    from sides as s
    inner join looks as o
        on
            s.region = o.region
            and s.direction = o.direction
            and s.project_id = o.project_id
            and o.observed_at >= s.seen_from
            and (s.is_open or o.observed_at < s.seen_to)
    group by s.side_number
),

absences as (
    select
        s.region,
        s.share_id,
        s.backup_id,
        s.from_project_id,
        s.to_project_id,
        s.project_id,
        s.direction,
        s.other_project_id,
        min(o.observed_at) as began_at,
        case when s.is_open and g.gap_to = s.seen_to then max(h.horizon) else g.gap_to end as ended_at,
        max(k.shown_at) as shown_at
    from sides as s
    cross join ledger as h
    inner join side_gaps as g
        on s.side_number = g.side_number and g.gap_from < g.gap_to
    inner join last_looks as k
        on s.side_number = k.side_number
    inner join looks as o
        on
            s.region = o.region
            and s.other_project_id = o.project_id
            and s.other_direction = o.direction
            and o.observed_at >= g.gap_from
            and o.observed_at < g.gap_to
            and o.observed_at <= k.shown_at
    where o.proves_absence
    group by
        s.side_number, s.region, s.share_id, s.backup_id, s.from_project_id, s.to_project_id, s.project_id,
        s.direction, s.other_project_id, s.is_open, s.seen_to, g.gap_from, g.gap_to
),

disagreements as (
    select
        'giver_receiver_disagree' as rule,
        a.share_id as subject,
        a.region,
        a.share_id,
        a.backup_id,
        a.from_project_id,
        a.to_project_id,
        a.other_project_id as project_id,
        a.began_at,
        a.ended_at,
        cast(null as bigint) as figure,
        min(o.observed_at) as told_at
    from absences as a
    -- Only once the side was seen with it again.
    left join looks as o
        on
            a.region = o.region
            and a.project_id = o.project_id
            and a.direction = o.direction
            and o.observed_at between a.began_at and a.shown_at
    group by
        a.region, a.share_id, a.backup_id, a.from_project_id, a.to_project_id, a.other_project_id, a.began_at,
        a.ended_at
),

-- together

conditions as (
    select * from not_allowed
    union all
    select
        *,
        began_at as told_at
    from measured
    union all
    select
        *,
        began_at as told_at
    from failed
    union all
    select * from disagreements
),

matches as (
    select
        c.rule,
        c.subject,
        c.region,
        c.began_at,
        c.ended_at,
        a.exception_id,
        a.owner,
        a.reason,
        a.expires_on,
        a.expired_at,
        a.force_from,
        a.force_to,
        greatest(a.force_from, a.accepted_at) as accepted_from,
        least(a.force_to, a.expired_at) as accepted_to
    from conditions as c
    inner join acceptances as a
        on
            c.rule = a.rule
            and (a.share_id is null or c.share_id = a.share_id)
            and (a.backup_id is null or c.backup_id = a.backup_id)
            and (a.from_project_id is null or c.from_project_id = a.from_project_id)
            and (a.to_project_id is null or c.to_project_id = a.to_project_id)
            and (a.project_id is null or c.project_id = a.project_id)
),

all_conditions as (
    select
        *,
        cast(null as text) as exception_id
    from conditions
    union all
    -- An exception that has run out stays in the policy, and what it accepted still stands.
    select
        'expired_exception' as rule,
        exception_id as subject,
        region,
        null as share_id,
        null as backup_id,
        null as from_project_id,
        null as to_project_id,
        null as project_id,
        greatest(began_at, force_from, expired_at) as began_at,
        least(ended_at, force_to) as ended_at,
        cast(null as bigint) as figure,
        greatest(began_at, force_from, expired_at) as told_at,
        exception_id
    from matches
    where greatest(began_at, force_from, expired_at) < least(ended_at, force_to) and rule <> 'short_lived_share'
),

in_order as (
    select
        *,
        max(ended_at) over (
            partition by rule, region, subject
            order by began_at, ended_at
            rows between unbounded preceding and 1 preceding
        ) as held_before
    from all_conditions
),

in_occurrences as (
    select
        *,
        sum(case when began_at <= held_before then 0 else 1 end) over (
            partition by rule, region, subject
            order by began_at, ended_at
            rows between unbounded preceding and current row
        ) as occurrence
    from in_order
),

-- Of several conditions the one that began last says what share it is, and the like.
told as (
    select distinct on (rule, region, subject)
        *,
        min(began_at) over (partition by rule, region, subject) as first_seen,
        max(ended_at) over (partition by rule, region, subject) as held_until,
        max(occurrence) over (partition by rule, region, subject) as occurrence_count,
        min(began_at) over (partition by rule, region, subject, occurrence) as last_began_at,
        min(told_at) over (partition by rule, region, subject, occurrence) as known_since
    from in_occurrences
    order by rule, region, subject, began_at desc, ended_at desc, share_id, figure desc
),

accepting as (
    select distinct on (m.rule, m.region, m.subject)
        m.rule,
        m.region,
        m.subject,
        m.exception_id,
        m.owner,
        m.reason,
        m.expires_on,
        (m.accepted_from <= l.as_of and m.accepted_to > l.as_of)
        or (m.rule = 'short_lived_share' and m.accepted_from < least(m.accepted_to, l.horizon)
            and m.accepted_to > m.began_at) as accepts
    from matches as m
    cross join ledger as l
    where m.accepted_from < least(m.accepted_to, l.horizon) and m.accepted_to > m.began_at and m.ended_at >= l.horizon
    order by m.rule, m.region, m.subject, accepts desc, m.expires_on desc, md5(m.exception_id)
),

run_out as (
    select distinct on (exception_id)
        exception_id,
        owner,
        reason,
        expires_on
    from acceptances
    order by exception_id, force_from desc
),

judged as (
    select
        t.*,
        l.as_of,
        a.exception_id as accepted_by,
        coalesce(a.owner, r.owner) as owner,
        coalesce(a.reason, r.reason) as reason,
        coalesce(a.expires_on, r.expires_on) as expires_on,
        case
            when t.held_until < l.horizon then 'resolved'
            when coalesce(a.accepts, false) then 'accepted'
            when t.occurrence_count > 1 or a.exception_id is not null then 'reopened'
            else 'open'
        end as state,
        cast(cast(t.last_began_at at time zone 'UTC' as date) as text) as since
    from told as t
    cross join ledger as l
    left join accepting as a
        on t.rule = a.rule and t.region = a.region and t.subject = a.subject
    left join run_out as r
        on t.exception_id = r.exception_id
)

select
    md5(rule || ' ' || region || ' ' || subject) as finding_id,
    rule,
    case rule
        when 'untrusted_recipient' then 'high'
        when 'fan_out' then 'high'
        when 'stale_share' then 'low'
        when 'unknown_project' then 'low'
        when 'self_share' then 'low'
        else 'medium'
    end as severity,
    state,
    region,
    share_id,
    backup_id,
    from_project_id,
    to_project_id,
    project_id,
    coalesce(exception_id, accepted_by) as exception_id,
    owner as exception_owner,
    reason as exception_reason,
    expires_on as exception_expires_on,
    first_seen,
    least(held_until, as_of) as last_seen,
    case when state = 'resolved' then held_until end as resolved_at,
    cast(occurrence_count as bigint) as occurrence_count,
    case rule
        when 'untrusted_recipient'
            then 'backup ' || backup_id || ' is shared with ' || to_project_id || ', which the policy does not trust'
        when 'first_ever_recipient'
            then 'nothing was ever shared with ' || to_project_id || ' before backup ' || backup_id
        when 'fan_out'
            then 'backup ' || backup_id || ' is shared with ' || cast(figure as text) || ' projects'
        when 'stale_share'
            then 'backup ' || backup_id || ' is shared with ' || to_project_id || ' for more than '
                || cast(figure as text) || ' days'
        when 'short_lived_share'
            then 'backup ' || backup_id || ' was shared with ' || to_project_id || ' for less than '
                || cast(figure as text) || ' hours'
        when 'regranted_share'
            then 'backup ' || backup_id || ' is shared with ' || to_project_id || ' again after a withdrawal'
        when 'failed_backup_shared'
            then 'backup ' || backup_id || ' is shared, and has failed or tells a fail reason'
        when 'self_share'
            then 'backup ' || backup_id || ' is shared by ' || from_project_id || ' with itself'
        when 'giver_receiver_disagree'
            then 'the listing of ' || project_id || ' does not show the share of backup ' || backup_id
                || ' that the other side shows'
        when 'unknown_project'
            then 'project ' || project_id || ' takes part in sharing, and the policy does not name it'
        else 'exception ' || exception_id || ' has run out, and what it accepted still stands'
    end || case when state = 'resolved' then ' (over; it began on ' else ' (since ' end || since || ')' as detail,
    known_since
from judged
