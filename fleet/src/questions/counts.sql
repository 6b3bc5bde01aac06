-- How many devices have each value, by their last sighting.
SELECT 'devices' AS what, '' AS name, count(*) AS n FROM devices
UNION ALL SELECT 'seen', '24h', count(*) FROM devices WHERE last_seen >= {at} - 86400
UNION ALL SELECT 'seen', '7d', count(*) FROM devices WHERE last_seen >= {at} - 7 * 86400
UNION ALL SELECT 'seen', '30d', count(*) FROM devices WHERE last_seen >= {at} - 30 * 86400
UNION ALL SELECT 'silent', '', count(*) FROM devices WHERE last_seen < {at} - {silent_after}
UNION ALL SELECT 'version', version, count(*) FROM devices GROUP BY version
UNION ALL SELECT 'chip', chip, count(*) FROM devices GROUP BY chip
UNION ALL SELECT 'boot', boot, count(*) FROM devices GROUP BY boot
UNION ALL SELECT 'channel', channel, count(*) FROM devices WHERE channel <> '' GROUP BY channel
UNION ALL SELECT 'state', state_kind, count(*) FROM devices GROUP BY state_kind
UNION ALL SELECT 'error', error, count(*) FROM devices WHERE error <> '' GROUP BY error
