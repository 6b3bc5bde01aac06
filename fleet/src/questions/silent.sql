-- The silent devices, the longest silent first.
SELECT device, last_seen, version
FROM devices
WHERE last_seen < {at} - {silent_after}
ORDER BY last_seen, device
LIMIT {limit}
