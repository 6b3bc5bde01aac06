-- A device as it was last seen.
SELECT device, version, chip, channel, state, "last", boot, first_seen, last_seen
FROM devices
WHERE device = {device}
