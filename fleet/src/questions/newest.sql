-- The newest sighting: what the answers are as of, unless a time is named.
SELECT max(time) AS time
FROM (SELECT max(time) AS time FROM sightings UNION ALL SELECT max(time) AS time FROM anonymous) a
