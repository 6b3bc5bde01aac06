-- What devices said in their requests. It is read as `s3ota fleet` reads it: a field that comes twice counts the first time, and one
-- whose value no device would write is as one that is missing.
WITH requests AS (
    SELECT CAST(to_unixtime(date_parse(request_time, '%d/%b/%Y:%H:%i:%s +0000')) AS bigint) AS time,
        key,
        substr(user_agent, 2, length(user_agent) - 2) AS agent
    FROM s3_access_logs
    WHERE user_agent LIKE '"s3ota/%' AND request_time LIKE '%+0000'
), fields AS (
    SELECT time,
        regexp_extract(agent, ' dev=([^ ]*)', 1) AS dev,
        regexp_extract(agent, ' fw=([^ ]*)', 1) AS fw,
        regexp_extract(agent, ' chip=([^ ]*)', 1) AS chip,
        regexp_extract(agent, ' state=([^ ]*)', 1) AS state,
        regexp_extract(agent, ' boot=([^ ]*)', 1) AS boot,
        regexp_extract(agent, ' last=([^ ]*)', 1) AS "last",
        CASE
            WHEN regexp_like(key, '(^|/)(releases|yanked|older|(history|installer)/[^/]*)/[^/]*$') THEN ''
            ELSE regexp_extract(key, '(?:^|/)([A-Za-z0-9][A-Za-z0-9._-]{0,63})[.]json(?:[?].*)?$', 1)
        END AS channel
    FROM requests
)
SELECT time,
    CAST((time - time % 86400) / 86400 AS bigint) AS day,
    CASE WHEN regexp_like(dev, '^[!#-\[\]-~]{1,64}$') THEN dev ELSE '' END AS device,
    CASE
        WHEN regexp_like(state, '^(valid|trial)$') THEN state
        WHEN regexp_like(state, '^trial:([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])/([1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$') THEN state
        WHEN regexp_like(state, '^back:[!#-\[\]-~]{1,64}$') THEN state
        WHEN regexp_like(state, '^stuck:[a-z0-9_.-]{1,64}$') THEN state
        ELSE ''
    END AS state,
    CASE WHEN regexp_like(fw, '^[!#-\[\]-~]{1,64}$') THEN fw ELSE '' END AS fw,
    CASE
        WHEN regexp_like("last", '^[a-z0-9_.-]{1,64}@[!#-\[\]-~]{1,64}$') THEN "last"
        WHEN regexp_like("last", '^[a-z0-9_.-]{1,64}$') AND "last" <> 'ok' THEN "last"
        ELSE ''
    END AS "last",
    CASE WHEN regexp_like(chip, '^[!#-\[\]-~]{1,64}$') THEN chip ELSE '' END AS chip,
    CASE WHEN boot IN ('plain', 'rollback') THEN boot ELSE '' END AS boot,
    coalesce(channel, '') AS channel
FROM fields
