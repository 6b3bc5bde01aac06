-- Every version that a device has run (ran = 1), or only gone back from or tried to install.
SELECT version, max(ran) AS ran
FROM (
    SELECT fw AS version, 1 AS ran FROM sightings
    UNION ALL SELECT back_from, 0 FROM sightings
    UNION ALL SELECT about, 0 FROM sightings
) v
WHERE version <> ''
GROUP BY version
ORDER BY version
