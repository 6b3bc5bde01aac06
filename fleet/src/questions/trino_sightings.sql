-- Those that tell an id.
SELECT time, day, device, state, fw, "last", chip, boot, channel,
    coalesce(regexp_extract(state, '^[a-z]+'), '') AS state_kind,
    coalesce(regexp_extract(state, '^back:(.*)$', 1), '') AS back_from,
    CASE WHEN "last" LIKE 'ok@%' THEN '' ELSE coalesce(regexp_extract("last", '^[^@]+'), '') END AS error,
    coalesce(regexp_extract("last", '@(.*)$', 1), '') AS about
FROM s3ota_requests
WHERE device <> ''
