-- One row for each device: how it was last seen.
WITH latest AS (
    SELECT s.*,
        row_number() OVER (
            PARTITION BY s.device
            ORDER BY s.state DESC, s.fw DESC, s."last" DESC, s.chip DESC, s.boot DESC, s.channel DESC
        ) AS place
    FROM sightings s
    JOIN (SELECT device, max(time) AS time FROM sightings GROUP BY device) l
        ON s.device = l.device AND s.time = l.time
), asking AS (
    SELECT s.device, s.channel,
        row_number() OVER (
            PARTITION BY s.device
            ORDER BY s.state DESC, s.fw DESC, s."last" DESC, s.chip DESC, s.boot DESC, s.channel DESC
        ) AS place
    FROM sightings s
    JOIN (SELECT device, max(time) AS time FROM sightings WHERE channel <> '' GROUP BY device) l
        ON s.device = l.device AND s.time = l.time
    WHERE s.channel <> ''
), firsts AS (
    SELECT device, min(time) AS time FROM sightings GROUP BY device
)
SELECT r.device, r.fw AS version, r.chip, coalesce(a.channel, '') AS channel, r.state, r."last", r.boot,
    f.time AS first_seen, r.time AS last_seen, r.state_kind, r.error
FROM latest r
JOIN firsts f ON f.device = r.device
LEFT JOIN asking a ON a.device = r.device AND a.place = 1
WHERE r.place = 1
ORDER BY r.device
