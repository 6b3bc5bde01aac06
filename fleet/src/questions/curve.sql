-- When devices first ran a release: how many in which hour since a moment. A full hour belongs to the hour that it ends.
SELECT hour, count(*) AS devices
FROM (
    SELECT CASE WHEN late <= 0 THEN 0 ELSE CAST((late + 3599 - (late + 3599) % 3600) / 3600 AS bigint) END AS hour
    FROM (SELECT device, min(time) - {since} AS late FROM sightings WHERE fw = {version} GROUP BY device) f
) h
GROUP BY hour
ORDER BY hour
