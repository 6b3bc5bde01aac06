-- All that a device told, in its order.
SELECT time, state_kind, back_from, fw, "last", error
FROM sightings
WHERE device = {device}
ORDER BY time, state, fw, "last", chip, boot, channel
