"""What Postgres does for the ledger beyond what models can say.

Partitioning: Django's table is made again as one partitioned by month, without indexes. So the first migration runs
this before it adds the ledger's indexes: those of the table before would be dropped with it.
"""

PARTITION_BY_MONTH = """
ALTER TABLE billing_usageevent RENAME TO billing_usageevent_plain;
ALTER TABLE billing_usageevent_plain DROP CONSTRAINT billing_usageevent_pkey;
CREATE TABLE billing_usageevent (
    LIKE billing_usageevent_plain INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (id, ts),
    CONSTRAINT usageevent_id_carries_ts CHECK (
        ts = to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0)
    )
) PARTITION BY RANGE (ts);
DROP TABLE billing_usageevent_plain;
"""

IMMUTABLE = """
CREATE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The ledger is immutable: % of % refused; record a correction instead.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER usageevent_immutable BEFORE UPDATE OR DELETE ON billing_usageevent
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER storedsnapshot_immutable BEFORE UPDATE OR DELETE ON billing_storedsnapshot
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
"""

SPANS = {
    "billing_hourlyusage": ("hour", "date_trunc('hour', ts, 'UTC')"),
    "billing_dailyusage": ("day", "(ts AT TIME ZONE 'UTC')::date"),
}

ADD_TO_ROLLUP = """
    INSERT INTO {table} AS r (
        workspace_id, {span}, provider, model, mode, modality, adapter_id,
        requests, input_tokens, output_tokens, cached_tokens, cost_gbp, unmetered
    )
    SELECT
        workspace_id, {of_event} AS span, provider, model, mode, modality, coalesce(adapter_id, '') AS adapter,
        count(*) FILTER (WHERE corrects IS NULL), sum(input_tokens), sum(output_tokens), sum(cached_tokens),
        coalesce(sum(cost_gbp), 0), count(*) FILTER (WHERE corrects IS NULL AND cost_gbp IS NULL)
    FROM new_events
    GROUP BY workspace_id, span, provider, model, mode, modality, adapter
    ORDER BY workspace_id, span, provider, model, mode, modality, adapter  -- one order of locks: no deadlocks
    ON CONFLICT (workspace_id, {span}, provider, model, mode, modality, adapter_id) DO UPDATE SET
        requests = r.requests + excluded.requests,
        input_tokens = r.input_tokens + excluded.input_tokens,
        output_tokens = r.output_tokens + excluded.output_tokens,
        cached_tokens = r.cached_tokens + excluded.cached_tokens,
        cost_gbp = r.cost_gbp + excluded.cost_gbp,
        unmetered = r.unmetered + excluded.unmetered;
"""

# A rollup's row is rewritten by each commit of its span: room in its page keeps that out of the indexes (HOT updates)
ROOM_IN_ROLLUPS = "".join(f"ALTER TABLE {table} SET (fillfactor = 50);\n" for table in SPANS)

ROLL_UP = f"""
CREATE FUNCTION billing_roll_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
{"".join(ADD_TO_ROLLUP.format(table=table, span=span, of_event=of) for table, (span, of) in SPANS.items())}
    RETURN NULL;
END $$;
CREATE TRIGGER usageevent_roll_up AFTER INSERT ON billing_usageevent
    REFERENCING NEW TABLE AS new_events FOR EACH STATEMENT EXECUTE FUNCTION billing_roll_up();
"""

SETTLE = """
CREATE FUNCTION billing_settle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing_spend AS s (workspace_id, api_key_id, day, cost_gbp)
    SELECT
        workspace_id, coalesce(api_key_id, '00000000-0000-0000-0000-000000000000') AS key,
        (ts AT TIME ZONE 'UTC')::date AS day, sum(cost_gbp)
    FROM new_events
    WHERE cost_gbp <> 0
    GROUP BY workspace_id, day, key
    ORDER BY workspace_id, day, key
    ON CONFLICT (workspace_id, day, api_key_id) DO UPDATE SET cost_gbp = s.cost_gbp + excluded.cost_gbp;

    IF EXISTS (SELECT FROM billing_reservation) THEN
        WITH settled AS (
            DELETE FROM billing_reservation r USING new_events e WHERE r.event_id = e.id
            RETURNING r.workspace_id, r.tokens - e.input_tokens - e.output_tokens AS unused
        )
        UPDATE billing_ratewindow w SET tokens = w.tokens + s.unused
        FROM (SELECT workspace_id, sum(unused) AS unused FROM settled GROUP BY workspace_id) s
        WHERE w.workspace_id = s.workspace_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER usageevent_settle AFTER INSERT ON billing_usageevent
    REFERENCING NEW TABLE AS new_events FOR EACH STATEMENT EXECUTE FUNCTION billing_settle();
"""

POST_OUT = """
CREATE FUNCTION billing_post_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM billing_sink WHERE enabled) THEN
        INSERT INTO billing_outboxentry (sink_id, event_id, ts, refused)
        SELECT s.id, e.id, e.ts, ''
        FROM new_events e JOIN billing_sink s
            ON s.enabled AND (s.workspace_id IS NULL OR s.workspace_id = e.workspace_id)
        ORDER BY e.ts, e.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER usageevent_post_out AFTER INSERT ON billing_usageevent
    REFERENCING NEW TABLE AS new_events FOR EACH STATEMENT EXECUTE FUNCTION billing_post_out();
"""

LEDGER_SQL = PARTITION_BY_MONTH + IMMUTABLE + ROOM_IN_ROLLUPS + ROLL_UP + SETTLE + POST_OUT
