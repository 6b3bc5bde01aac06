-- How many devices of each channel run each version.
SELECT channel, version, count(*) AS devices
FROM devices
WHERE channel <> ''
GROUP BY channel, version
ORDER BY channel, version
