-- By how many devices each version gains and loses on a day, as their last sightings of the days tell it.
WITH ends AS (
    SELECT s.device, s.day, s.fw,
        row_number() OVER (
            PARTITION BY s.device, s.day
            ORDER BY s.state DESC, s.fw DESC, s."last" DESC, s.chip DESC, s.boot DESC, s.channel DESC
        ) AS place
    FROM sightings s
    JOIN (SELECT device, day, max(time) AS time FROM sightings GROUP BY device, day) l
        ON s.device = l.device AND s.day = l.day AND s.time = l.time
), changes AS (
    SELECT day, fw, lag(fw) OVER (PARTITION BY device ORDER BY day) AS before
    FROM ends
    WHERE place = 1
)
SELECT day, version, sum(change) AS change
FROM (
    SELECT day, fw AS version, 1 AS change FROM changes WHERE before IS NULL OR before <> fw
    UNION ALL SELECT day, before, -1 FROM changes WHERE before <> fw
) c
GROUP BY day, version
ORDER BY day, version
