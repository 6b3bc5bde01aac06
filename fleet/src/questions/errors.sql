-- Devices that told of an error, by day.
SELECT day, error AS code, count(DISTINCT device) AS devices
FROM sightings
WHERE error <> ''
GROUP BY day, error
ORDER BY day, error
