-- Every version that a device of a channel has run.
SELECT DISTINCT s.fw AS version
FROM sightings s
JOIN devices d ON d.device = s.device
WHERE d.channel = {channel} AND s.fw <> ''
ORDER BY version
