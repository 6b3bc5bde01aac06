-- How a release does.
SELECT count(*) AS devices,
    coalesce(sum(d.tried), 0) AS tried,
    coalesce(sum(d.confirmed), 0) AS confirmed,
    coalesce(sum(d.failed), 0) AS failed,
    coalesce(sum(CASE WHEN n.version = {version} THEN 1 ELSE 0 END), 0) AS running,
    min(d.since) AS since
FROM (
    SELECT device,
        max(CASE WHEN {version} IN (fw, back_from, about) THEN 1 ELSE 0 END) AS tried,
        max(CASE WHEN fw = {version} AND state_kind = 'valid' THEN 1 ELSE 0 END) AS confirmed,
        max(CASE WHEN back_from = {version} OR (error <> '' AND about = {version}) THEN 1 ELSE 0 END) AS failed,
        min(CASE WHEN fw = {version} THEN time END) AS since
    FROM sightings
    GROUP BY device
) d
JOIN devices n ON n.device = d.device
