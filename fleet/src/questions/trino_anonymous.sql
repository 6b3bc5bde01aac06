-- Those that tell none.
SELECT time, 1 AS requests
FROM s3ota_requests
WHERE device = ''
